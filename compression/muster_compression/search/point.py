"""What a search knows of the points that it tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = int | float | str | bool | None
"""What a free parameter may be."""


@dataclass(frozen=True, slots=True)
class Point:
    """One variant of the recipe with one choice for each parameter that it depends on, and what came out."""

    number: int  # in the order of the search, from 1
    variant: str  # of the recipe
    values: Mapping[str, Value]  # by parameter
    format: str = ""
    sha256: str = ""
    size_bytes: int = 0
    metric: str = ""
    accuracy: float | None = None
    accuracy_ci: tuple[float | None, float | None] = (None, None)
    agreement: float | None = None
    latency_ms: float | None = None
    latency_state: str = ""  # BenchmarkRecord.state
    latency_unavailable: str = ""
    under_floor: str = ""  # the reason, with figures; "" = not under it
    failed: str = ""  # the reason; "" = it came out
    wall_s: float = 0.0

    @property
    def key(self) -> str:
        """Its name: the variant's and its number."""
        return f"{self.variant[:26]}-{self.number}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a point."""

    point: Point
    is_chosen: bool
    reason: str  # why it was dropped: dominated by whom, under the floor, the same bytes as, failed


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """For the report: the space, what was spent on it, and every point with its fate."""

    parameters: Mapping[str, str]  # name -> its domain in words
    budget: str
    spent_s: float
    verdicts: tuple[Verdict, ...]
    ended: str = ""  # why it ended: "budget", "every point of the space was tried"
    methods: Mapping[str, str] = field(default_factory=dict)  # variant -> how points were proposed
