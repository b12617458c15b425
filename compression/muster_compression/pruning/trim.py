"""Take the least important units out of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import ChannelGroup, removals
from muster_compression.pruning.importance import by_place
from muster_compression.pruning.narrow import narrow
from muster_compression.pruning.widths import Widths


def trim(module: nn.Module, groups: Sequence[ChannelGroup], widths: Widths, scores: Mapping[str, Tensor]) -> nn.Module:
    """``module`` itself with ``widths`` units in each group; the ones of the lowest scores leave, ties by place.

    Its dropouts drop less, in proportion to the units that stay: with half of its units a layer that still drops half
    could hardly learn (Han et al., "Learning both Weights and Connections", 2015, section 3.2: the rate goes with the
    root of the connections left, and those with the square of the width).

    Raises:
        PruningError: a layer cannot lose them.
    """
    chosen = [(group, leaving(group, widths[group.name], scores[group.name])) for group in groups]
    narrow(module, removals(chosen))
    before = sum(group.size for group in groups)
    share = sum(widths[group.name] for group in groups) / before if before else 1.0
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p *= share
    return module


def leaving(group: ChannelGroup, width: int, scores: Tensor) -> list[int]:
    """The units that leave so that ``width`` stay."""
    places = by_place(group, scores)
    order = torch.argsort(places, stable=True).tolist()
    count = (group.size - width) // group.divisor
    return sorted(unit for place in order[:count] for unit in group.units_at(place))
