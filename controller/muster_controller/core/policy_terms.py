"""The terms of a policy: what it can constrain, what it can aim for, and the policy itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from muster_controller.core.bounds import Bound
from muster_protos.errors import InvalidInputError


class Metric(Enum):
    """A figure of a configuration; the unit is in the name, mb are MiB (2^20 bytes)."""

    P50_MS = "p50_ms"
    P90_MS = "p90_ms"
    P95_MS = "p95_ms"
    P99_MS = "p99_ms"
    PEAK_MEMORY_MB = "peak_memory_mb"
    ENERGY_MJ = "energy_mj"
    SIZE_MB = "size_mb"
    ACCURACY = "accuracy"
    ACCURACY_DROP = "accuracy_drop"  # how far below the baseline, in points (0.01 = one percentage point)
    AGREEMENT = "agreement"  # share of samples answered as the reference does


LATENCY_PERCENTILES = {Metric.P50_MS: 50.0, Metric.P90_MS: 90.0, Metric.P95_MS: 95.0, Metric.P99_MS: 99.0}
QUALITY_METRICS = frozenset({Metric.ACCURACY, Metric.ACCURACY_DROP, Metric.AGREEMENT})


class Side(Enum):
    """On which side of the bound a figure must lie."""

    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Constraint:
    """``metric`` must be at least (MIN) or at most (MAX) ``bound``."""

    metric: Metric
    side: Side
    bound: Bound

    def __str__(self) -> str:
        return f"{self.metric.value} {self.side.value} {self.bound}"


class Objective(Enum):
    """What to make best among the configurations that meet every constraint."""

    ACCURACY = "accuracy"
    LATENCY = "latency"
    ENERGY = "energy"
    SIZE = "size"


_SLO_ORDER = (Metric.P95_MS, Metric.P99_MS, Metric.P90_MS, Metric.P50_MS)


class PolicyError(InvalidInputError):
    """The policy cannot be read, or does not fit the model."""


@dataclass(frozen=True, slots=True)
class SloTarget:
    """``slo:`` of a policy."""

    latency_ms: float
    percentile: float


@dataclass(frozen=True, slots=True)
class Policy:
    """What a choice must meet and what it should be best at."""

    constraints: tuple[Constraint, ...]
    weights: tuple[tuple[Objective, float], ...]  # sum to 1, largest first
    is_auto: bool  # `apply: auto`: a new choice is rolled out without a person
    is_agreement_allowed: bool  # agreement may stand in for accuracy
    slo: SloTarget | None  # for serving; None = the latency constraint's
    rungs: int  # longest ladder
    keeps_emergency_rung: bool  # the fastest measured configuration is a rung though it misses a quality constraint
    text: str

    @property
    def objectives(self) -> frozenset[Objective]:
        return frozenset(objective for objective, _ in self.weights)

    @property
    def uses_agreement(self) -> bool:
        """Agreement may order variants where accuracy is unknown."""
        return self.is_agreement_allowed or any(item.metric is Metric.AGREEMENT for item in self.constraints)

    def percentiles(self) -> tuple[float, ...]:
        """The latency percentiles that benchmarks must support for this policy."""
        named = {LATENCY_PERCENTILES[item.metric] for item in self.constraints if item.metric in LATENCY_PERCENTILES}
        if self.slo is not None:
            named.add(self.slo.percentile)
        return tuple(sorted(named | {50.0, 95.0}))

    def slo_constraint(self) -> Constraint | None:
        """The latency constraint that serving inherits when the policy names no SLO."""
        upper = {item.metric: item for item in self.constraints if item.side is Side.MAX}
        return next((upper[metric] for metric in _SLO_ORDER if metric in upper), None)
