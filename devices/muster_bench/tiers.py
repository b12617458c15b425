"""How long a run lasts: minimum queries AND minimum duration, with a hard cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from muster_bench.early_stopping import queries_needed
from muster_protos.errors import InvalidInputError
from muster_protos.model import Tier

HARD_CAP_S = 600.0


@dataclass(frozen=True, slots=True)
class RunLength:
    """The stopping rule of one run."""

    min_queries: int
    min_duration_s: float
    cap_s: float = HARD_CAP_S
    warmup_min_s: float = 0.5
    warmup_cap_s: float = 30.0
    cold_starts: int = 5
    settle_s: float = 10.0  # how long a busy device is given to calm down before the run is tagged


# standard is MLPerf Mobile's minimum query count and duration; certify and quick scale it (docs/measurement.md).
_LENGTHS = {
    Tier.QUICK: RunLength(64, 5.0),
    Tier.STANDARD: RunLength(1024, 60.0, settle_s=60.0),
    Tier.CERTIFY: RunLength(4096, 600.0, settle_s=300.0),
    Tier.DEMO: RunLength(16, 1.0, warmup_min_s=0.2, warmup_cap_s=2.0, cold_starts=3, settle_s=0.0),
}


def run_length(tier: Tier, percentiles: Sequence[float] = ()) -> RunLength:
    """The rule of ``tier``, with as many queries as early stopping needs for ``percentiles`` (in (0, 100)).

    Raises:
        InvalidInputError: the tier is unknown here, or a percentile is not in (0, 100).
    """
    if tier not in _LENGTHS:
        known = ", ".join(kind.value for kind in _LENGTHS)
        raise InvalidInputError(f"expected a tier of {known}, found {tier.value}")
    length = _LENGTHS[tier]
    needed = max((queries_needed(percentile / 100) for percentile in percentiles), default=0)
    return replace(length, min_queries=max(length.min_queries, needed))
