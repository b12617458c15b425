"""How wide each group becomes, as numbers; no module here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from muster_compression.pruning.channel_group import ChannelGroup, Kind

Widths: TypeAlias = Mapping[str, int]
"""By group name: how many units stay."""


def width_for(group: ChannelGroup, removed_ratio: float, round_to: int = 1) -> int:
    """The units that stay when about ``removed_ratio`` of them leave: at least one place, whole segments.

    With ``round_to`` the nearest multiple of it, and not less than one; a group that is no wider than that stays whole
    (rounding down instead would take half of a layer of 12 for a ratio of 0.1). Heads are never rounded.
    """
    multiple = math.lcm(group.divisor, round_to) if group.kind is Kind.CHANNELS else group.divisor
    if group.size <= multiple:
        return group.size
    wanted = group.size * (1 - removed_ratio)
    return min(group.size, max(multiple, multiple * math.floor(wanted / multiple + 0.5)))


def uniform(groups: Sequence[ChannelGroup], removed_ratio: float, round_to: int = 1) -> dict[str, int]:
    """The same share of every group."""
    return {group.name: width_for(group, removed_ratio, round_to) for group in groups}


def on_the_way(start: Widths, end: Widths, groups: Sequence[ChannelGroup], share: float) -> dict[str, int]:
    """Widths after ``share`` of the way from ``start`` to ``end``; whole segments, never below ``end``."""
    found = {}
    for group in groups:
        first, last = start[group.name], end[group.name]
        steps = math.floor((first - last) * share / group.divisor + 1e-9)
        found[group.name] = max(last, first - steps * group.divisor)
    return found


def units_of(groups: Sequence[ChannelGroup], widths: Widths, kind: Kind) -> int:
    """How many units of ``kind`` stay in all; channels that are coupled over many layers count once."""
    return sum(widths[group.name] for group in groups if group.kind is kind)
