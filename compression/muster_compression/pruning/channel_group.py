"""Channels (or attention heads) that can only leave a network together, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Side(Enum):
    """Where a channel meets a layer."""

    OUT = "out"  # a convolution or product makes it
    IN = "in"  # a convolution or product reads it
    THROUGH = "through"  # it passes a norm, a depthwise convolution, a parameter that is added


class Kind(Enum):
    """What a group's units are."""

    CHANNELS = "channels"
    HEADS = "heads"


@dataclass(frozen=True, slots=True)
class Member:
    """One layer's share of a group: unit ``units[i]`` is the layer's own channel ``indices[i]``."""

    layer: str  # dotted name of a module, or of a parameter
    side: Side
    units: tuple[int, ...]
    indices: tuple[int, ...]
    axis: int = 0  # of a bare parameter


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Units that can leave one by one, or ``divisor`` at a time; unit u then leaves every member at once.

    With a divisor (grouped convolutions, group norms) the units are that many equal segments and leave at the same
    place of each.
    """

    name: str  # of the first layer that makes them, or of the attention
    kind: Kind
    size: int
    divisor: int
    members: tuple[Member, ...]

    @property
    def layers(self) -> frozenset[str]:
        """Every layer that is touched."""
        return frozenset(member.layer for member in self.members)

    def units_at(self, place: int) -> tuple[int, ...]:
        """The units that leave together: ``place`` of every segment."""
        segment = self.size // self.divisor
        return tuple(place + index * segment for index in range(self.divisor))


@dataclass(frozen=True, slots=True)
class Cut:
    """What to take out of one layer, at one side."""

    layer: str
    side: Side
    axis: int = 0


Removals: TypeAlias = Mapping[Cut, frozenset[int]]
"""The layers' own channels to take out."""


def removals(chosen: Iterable[tuple[ChannelGroup, Iterable[int]]]) -> Removals:
    """What leaves each layer when the given units leave their groups; groups that share a layer (concat) add up."""
    collected: dict[Cut, set[int]] = {}
    for group, units in chosen:
        leaving = frozenset(units)
        for member in group.members:
            cut = Cut(member.layer, member.side, member.axis)
            gone = {index for unit, index in zip(member.units, member.indices, strict=True) if unit in leaving}
            collected.setdefault(cut, set()).update(gone)
    return {cut: frozenset(indices) for cut, indices in collected.items() if indices}
