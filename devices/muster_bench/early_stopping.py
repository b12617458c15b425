"""How many queries a percentile needs before it may be reported: MLPerf's early stopping.

Source: MLCommons inference rules, "Early stopping" (loadgen/early_stopping.cc): with tolerance d = 0 and confidence
c = 0.99 a run of n queries of which t were over the latency bound shows percentile p when
P(Binomial(n, 1 - p) <= t) <= 1 - c. LoadGen's single-stream estimate asks for at least t = 1, which gives 64 queries
for p90, 130 for p95, 662 for p99 and 6,636 for p99.9.
"""

from __future__ import annotations

import functools

from muster_bench.binomial import binomial_cdf
from muster_protos.errors import InvalidInputError

CONFIDENCE = 0.99
_OVER_LATENCY = 1


@functools.cache
def queries_needed(quantile: float) -> int:
    """The least number of queries that support ``quantile``, in (0, 1); 64 for 0.90.

    Raises:
        InvalidInputError: the quantile is not in (0, 1).
    """
    if not 0.0 < quantile < 1.0:
        raise InvalidInputError(f"expected a percentile between 0 and 100, found {quantile * 100:g}")
    low, high = _OVER_LATENCY, 2
    while not _shows(high, quantile):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _shows(middle, quantile) else (middle, high)
    return high


def is_supported(quantile: float, n: int) -> bool:
    """Whether ``n`` queries are enough to report ``quantile``."""
    return n >= queries_needed(quantile)


def _shows(n: int, quantile: float) -> bool:
    return binomial_cdf(_OVER_LATENCY, n, 1.0 - quantile) <= 1.0 - CONFIDENCE
