"""Which group loses how much: three ways, each led by one number from 0 (all stay) to 1 (as narrow as allowed)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from muster_compression.pruning.channel_group import ChannelGroup
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.widths import Widths, width_for

Allocation: TypeAlias = Callable[[float], dict[str, int]]
"""Strength in 0..1 -> widths; more strength never widens a group."""

_HALVINGS = 18
_SPREAD = 0.3


def evenly(groups: Sequence[ChannelGroup], most: float, round_to: int) -> Allocation:
    """The same ratio everywhere."""
    return lambda strength: {group.name: width_for(group, strength * most, round_to) for group in groups}


def by_rank(
    groups: Sequence[ChannelGroup], places: Mapping[str, Sequence[float]], most: float, round_to: int
) -> Allocation:
    """All units of all groups in one order of importance; the lowest leave, at most ``most`` of a group.

    ``places``: importance of what leaves together, by group.
    """
    lowest = {group.name: sorted(places[group.name])[: int(most * len(places[group.name]) + 1e-9)] for group in groups}
    order = sorted((score, group.name) for group in groups for score in lowest[group.name])

    def allocate(strength: float) -> dict[str, int]:
        gone = dict.fromkeys(lowest, 0)
        for _, name in order[: round(strength * len(order))]:
            gone[name] += 1
        return {
            group.name: width_for(group, gone[group.name] * group.divisor / group.size, round_to) for group in groups
        }

    return allocate


def by_sensitivity(
    groups: Sequence[ChannelGroup], sensitivity: Mapping[str, float], most: float, round_to: int
) -> Allocation:
    """The same ratio everywhere, less for sensitive groups and more for the others.

    ``sensitivity``: 0 to 1 by group. The least sensitive loses 1.9 times the ratio of the most sensitive. Further
    apart was worse on small networks: what a group costs alone and untrained says little of its cost after training.
    """

    def allocate(strength: float) -> dict[str, int]:
        even = strength * most / (1 - _SPREAD)
        ratios = {group.name: min(most, even * (1 + _SPREAD * (1 - 2 * sensitivity[group.name]))) for group in groups}
        return {group.name: width_for(group, ratios[group.name], round_to) for group in groups}

    return allocate


def reach(
    allocation: Allocation, measure: Callable[[Widths], float], target: float, tolerance: float, what: str
) -> dict[str, int]:
    """The widths whose ``measure`` (falling with strength) is nearest to ``target``.

    Raises:
        PruningError: none comes within ``tolerance``; the message says how near and what to change.
    """
    known: dict[tuple[tuple[str, int], ...], float] = {}

    def measured(widths: dict[str, int]) -> float:
        key = tuple(sorted(widths.items()))
        if key not in known:
            known[key] = measure(widths)
        return known[key]

    low, high = 0.0, 1.0
    tried = [allocation(low), allocation(high)]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tried.append(allocation(middle))
        if measured(tried[-1]) > target:
            low = middle
        else:
            high = middle
    best = min(tried, key=lambda widths: (abs(measured(widths) - target), -measured(widths)))
    if abs(measured(best) - target) > tolerance:
        raise PruningError(
            f"expected {what} of {target:.3g} within {tolerance:.3g}, the nearest that can be reached is "
            f"{measured(best):.3g} ({measured(tried[1]):.3g} at the strongest); change the target, max_ratio, "
            "round_to, keep or tolerance"
        )
    return best
