"""The one grammar of bounds: ``0.88`` absolute, ``-0.01`` points below the baseline, ``0.99rel`` times the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from muster_protos.errors import InvalidInputError


class BoundKind(Enum):
    """What a bound's number means."""

    ABSOLUTE = "absolute"
    POINTS = "points"  # baseline + value; value is negative
    RELATIVE = "relative"  # baseline * value


@dataclass(frozen=True, slots=True)
class Bound:
    """A number to compare a figure with."""

    value: float
    kind: BoundKind = BoundKind.ABSOLUTE

    def __str__(self) -> str:
        return f"{self.value:g}rel" if self.kind is BoundKind.RELATIVE else f"{self.value:g}"

    @property
    def needs_baseline(self) -> bool:
        """Its value depends on what the uncompressed variant achieves."""
        return self.kind is not BoundKind.ABSOLUTE


def parse_bound(text: str | float) -> Bound:
    """Read a bound.

    Raises:
        InvalidInputError: it is no number, not finite, or a relative one that is not positive.
    """
    written = str(text).strip()
    is_relative = written.endswith("rel")
    try:
        value = float(written.removesuffix("rel"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (is_relative and value <= 0) or isinstance(text, bool):
        raise InvalidInputError(f"expected a bound such as 0.88, -0.01 or 0.99rel, found {written[:80]!r}")
    if is_relative:
        return Bound(value, BoundKind.RELATIVE)
    return Bound(value, BoundKind.POINTS if value < 0 else BoundKind.ABSOLUTE)


def resolve(bound: Bound, baseline: float | None, *, is_smaller_better: bool = False) -> float | None:
    """The bound as an absolute number; None when it needs a baseline that is unknown.

    Points are a loss: below the baseline, or above it for a metric where smaller is better (an error such as mae).
    """
    if bound.kind is BoundKind.ABSOLUTE:
        return bound.value
    if baseline is None:
        return None
    if bound.kind is BoundKind.RELATIVE:
        return baseline * bound.value
    return baseline - bound.value if is_smaller_better else baseline + bound.value
