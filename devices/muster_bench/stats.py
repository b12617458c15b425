"""Order statistics of latencies. Child side: sorting needs numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from muster_bench.binomial import binomial_cdf
from muster_bench.early_stopping import is_supported
from muster_protos.errors import InvalidInputError
from muster_protos.model import Latency

_ALPHA = 0.05


def summarise(latencies_ns: Sequence[int]) -> Latency:
    """Every figure of one run; a percentile that the sample cannot support is None (see ``early_stopping``).

    Raises:
        InvalidInputError: no latencies.
    """
    if len(latencies_ns) == 0:
        raise InvalidInputError("expected at least one latency, found none")
    ordered = np.sort(np.asarray(latencies_ns, dtype=np.int64))
    n = len(ordered)
    median = quantile(ordered, 0.5)
    low, high = quantile_interval(ordered, 0.5)
    p90_low, p90_high = quantile_interval(ordered, 0.9) if is_supported(0.9, n) else (None, None)
    p95_low, p95_high = quantile_interval(ordered, 0.95) if is_supported(0.95, n) else (None, None)
    mild, severe = outliers(ordered)
    return Latency(
        n=n,
        min=int(ordered[0]),
        mean=float(ordered.mean()),
        std=float(ordered.std(ddof=1)) if n > 1 else 0.0,
        mad=float(np.median(np.abs(ordered - median))),
        p50=median,
        p50_ci_low=low,
        p50_ci_high=high,
        p90=_supported(ordered, 0.9),
        p90_ci_low=p90_low,
        p90_ci_high=p90_high,
        p95=_supported(ordered, 0.95),
        p95_ci_low=p95_low,
        p95_ci_high=p95_high,
        p99=_supported(ordered, 0.99),
        p999=_supported(ordered, 0.999),
        outliers_mild=mild,
        outliers_severe=severe,
    )


def quantile(ordered: npt.NDArray[np.int64], q: float) -> int:
    """The nearest-rank quantile: the smallest value that at least a share ``q`` of the sample does not exceed."""
    return int(ordered[max(0, math.ceil(q * len(ordered)) - 1)])


def quantile_interval(ordered: npt.NDArray[np.int64], q: float) -> tuple[int | None, int | None]:
    """A 95 % interval of the quantile by order statistics, which assumes no distribution (David and Nagaraja, 7.1).

    Bound ranks l < u hold P(l <= B < u) >= 0.95 for B ~ Binomial(n, q); None where the sample is too small.
    """
    n = len(ordered)
    lower = _rank(n, q, _ALPHA / 2)
    upper = _rank(n, q, 1 - _ALPHA / 2) + 1
    return (int(ordered[lower - 1]) if lower >= 1 else None, int(ordered[upper - 1]) if upper <= n else None)


def outliers(ordered: npt.NDArray[np.int64]) -> tuple[int, int]:
    """How many lie beyond 1.5 (mild) and beyond 3 (severe) interquartile ranges of the quartiles (Tukey 1977)."""
    first, third = float(quantile(ordered, 0.25)), float(quantile(ordered, 0.75))
    spread = third - first
    beyond = [
        int(np.count_nonzero((ordered < first - reach * spread) | (ordered > third + reach * spread)))
        for reach in (1.5, 3.0)
    ]
    return beyond[0] - beyond[1], beyond[1]


def _supported(ordered: npt.NDArray[np.int64], q: float) -> int | None:
    return quantile(ordered, q) if is_supported(q, len(ordered)) else None


def _rank(n: int, q: float, share: float) -> int:
    """The smallest k with P(B <= k) >= ``share``; as a lower rank it leaves at most ``share`` below."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_cdf(middle, n, q) >= share else (middle, high)
    return high
