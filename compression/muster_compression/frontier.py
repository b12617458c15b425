"""Which variants are worth having: the Pareto set over quality, host latency and size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muster_protos.metric_names import is_error_metric


@dataclass(frozen=True, slots=True)
class Candidate:
    """The figures that decide. Only candidates of one group compare: a device may run one format only."""

    key: str
    group: str  # the format
    quality: float | None  # more is better; None = unknown, which nothing is worse than
    latency_ms: float | None  # None = unknown, which nothing is slower than
    size_bytes: int

    @property
    def costs(self) -> tuple[float, float, float]:
        """Three figures where less is better. Latency counts with two digits: more of it is noise."""
        return (
            math.inf if self.quality is None else -self.quality,
            math.inf if self.latency_ms is None else float(f"{self.latency_ms:.1e}"),
            self.size_bytes,
        )


def quality_of(metric: str, value: float | None, agreement: float | None) -> float | None:
    """The metric's value, negated where less is better; without labels the agreement with the baseline."""
    if value is None:
        return agreement
    return -value if is_error_metric(metric) else value


def dominates(one: Candidate, other: Candidate) -> bool:
    """Nowhere worse, and better somewhere."""
    if one.group != other.group or one.costs == other.costs:
        return False
    return all(mine <= its for mine, its in zip(one.costs, other.costs, strict=True))


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other one dominates, in their order."""
    return [item for item in candidates if not any(dominates(other, item) for other in candidates)]


def dominators(candidates: Sequence[Candidate]) -> Mapping[str, str]:
    """For each candidate off the frontier one that is on it and dominates it: of several the one of best quality."""
    best = sorted(frontier(candidates), key=lambda item: item.costs)
    return {
        item.key: by.key
        for item in candidates
        if (by := next((other for other in best if dominates(other, item)), None)) is not None
    }
