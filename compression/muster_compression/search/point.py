"""What a search knows of the points that it tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from muster_compression.orders import StepResult

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
    steps: tuple[StepResult, ...] = ()  # its passes, as far as it came

    @property
    def key(self) -> str:
        """Its name: the variant's and its number."""
        return f"{self.variant[:26]}-{self.number}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A chosen point on the samples that judge, of which the search itself saw nothing where it had others."""

    metric: str
    accuracy: float | None
    accuracy_ci: tuple[float | None, float | None]
    agreement: float | None
    under_floor: str = ""  # the reason, with figures; "" = not under it


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a point."""

    point: Point  # its figures are those it was ranked by
    is_chosen: bool
    reason: str  # why it was dropped: dominated by whom, under the floor, the same bytes as, failed
    judged: Judged | None = None  # only what was chosen is; None = it was not, or could not be made again


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """For the report: the space, what was spent on it, and every point with its fate."""

    parameters: Mapping[str, str]  # name -> its domain in words
    budget: str
    spent_s: float
    verdicts: tuple[Verdict, ...]
    ended: str = ""  # why it ended: "budget", "every point of the space was tried"
    methods: Mapping[str, str] = field(default_factory=dict)  # variant -> how points were proposed
    ranked_on: str = ""  # which samples the points' figures are of
    is_ranked_apart: bool = False  # those do not judge; else the figures of what was chosen are optimistic
    baseline_ranked: float | None = None  # the baseline's quality on the same samples
