"""Goals of a template, and how far the variants that are to reach them are from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Goal:
    """At least this much smaller and faster than the teacher, at this share of its accuracy.

    ``variants`` are named beforehand, by format, and each is judged for itself: no verdict is the best of many draws.
    """

    size_ratio: float
    latency_ratio: float
    accuracy_share: float
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reached:
    """What one variant has; None = not measured."""

    size_ratio: float
    latency_ratio: float | None
    accuracy_share: float | None
    share_low: float | None = None  # 95 % interval
    share_high: float | None = None
    latency_low: float | None = None  # over the rounds
    latency_high: float | None = None
    is_noisy: bool = False


def missing(goal: Goal, found: Reached) -> tuple[str, ...]:
    """What ``found`` lacks, axis by axis; nothing when the goal is met."""
    lacks = []
    if found.size_ratio < goal.size_ratio:
        lacks.append(f"{found.size_ratio:.2f}x smaller instead of {goal.size_ratio:g}x")
    if found.latency_ratio is None:
        lacks.append(f"latency not measured, wanted {goal.latency_ratio:g}x")
    elif found.latency_ratio < goal.latency_ratio:
        lacks.append(f"{found.latency_ratio:.2f}x faster instead of {goal.latency_ratio:g}x")
    if found.accuracy_share is None:
        lacks.append("accuracy not known")
    elif found.accuracy_share < goal.accuracy_share:
        points = 100 * (goal.accuracy_share - found.accuracy_share)
        lacks.append(f"{found.accuracy_share:.2%} of the teacher's accuracy, {points:.2f} points under the goal")
    return tuple(lacks)


def verdict(goal: Goal, found: Reached) -> str:
    """Met or missed by how much; and what makes it doubtful."""
    lacks = missing(goal, found)
    text = f"missed: {'; '.join(lacks)}" if lacks else "met"
    doubts = []
    if _lies_across(goal.accuracy_share, found.share_low, found.share_high):
        doubts.append("too few samples to be sure of the accuracy")
    if _lies_across(goal.latency_ratio, found.latency_low, found.latency_high):
        doubts.append("rounds disagree on the latency")
    if found.is_noisy:
        doubts.append("noisy")
    return text + (f" ({', '.join(doubts)})" if doubts else "")


def _lies_across(value: float, low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low < value <= high
