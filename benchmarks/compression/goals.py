"""Goals of a template, and how far what came out is from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """At least this much smaller and faster than the teacher, at this share of its accuracy."""

    size_ratio: float
    latency_ratio: float
    accuracy_share: float


@dataclass(frozen=True, slots=True)
class Reached:
    """What one variant has; None = not measured."""

    variant: str
    size_ratio: float
    latency_ratio: float | None
    accuracy_share: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The variant that comes closest, and what it lacks."""

    reached: Reached
    is_met: bool
    text: str


def verdict(goal: Goal, found: Sequence[Reached]) -> Verdict | None:
    """The best of ``found``: one that meets the goal with the most accuracy, else the one whose worst axis is nearest.

    None when nothing came out.
    """
    if not found:
        return None
    best = max(found, key=lambda item: (min(1.0, min(_shares(goal, item))), item.accuracy_share or 0.0))
    missing = _missing(goal, best)
    return Verdict(best, not missing, "met" if not missing else "; ".join(missing))


def _shares(goal: Goal, found: Reached) -> tuple[float, float, float]:
    """Of the goal on each axis; accuracy counts by its lost part, for all of it lies close to 1."""
    allowed, lost = 1 - goal.accuracy_share, 1 - (found.accuracy_share or 0.0)
    return (
        found.size_ratio / goal.size_ratio,
        (found.latency_ratio or 0.0) / goal.latency_ratio,
        1.0 if lost <= allowed else allowed / lost,
    )


def _missing(goal: Goal, found: Reached) -> list[str]:
    missing = []
    if found.size_ratio < goal.size_ratio:
        missing.append(f"{found.size_ratio:.1f}x smaller instead of {goal.size_ratio:g}x")
    if found.latency_ratio is None:
        missing.append(f"latency not measured, wanted {goal.latency_ratio:g}x")
    elif found.latency_ratio < goal.latency_ratio:
        missing.append(f"{found.latency_ratio:.1f}x faster instead of {goal.latency_ratio:g}x")
    if found.accuracy_share is None:
        missing.append("accuracy not known")
    elif found.accuracy_share < goal.accuracy_share:
        lost = 100 * (goal.accuracy_share - found.accuracy_share)
        missing.append(f"{found.accuracy_share:.2%} of the teacher's accuracy, {lost:.2f} points under the goal")
    return missing
