"""The Pareto frontier: what nothing else beats in every respect."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, ...]
"""Coordinates of which smaller is better, all of the same length."""


def dominates(one: Point, other: Point) -> bool:
    """``one`` is nowhere worse than ``other`` and somewhere better."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def frontier(points: Sequence[Point]) -> tuple[int, ...]:
    """Indices, ascending, of the points that no other dominates; of equal points only the first."""
    kept: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index], index)):
        # In lexicographic order whoever dominates a point comes before it, and domination is transitive.
        if not any(points[other] == points[index] or dominates(points[other], points[index]) for other in kept):
            kept.append(index)
    return tuple(sorted(kept))
