import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.stats import outliers, quantile, quantile_interval, summarise
from muster_protos.errors import InvalidInputError


def test_percentiles_that_the_sample_cannot_support_are_none():
    few = summarise(range(1000, 1063))
    assert (few.n, few.p90, few.p90_ci_low, few.p95, few.p99, few.p999) == (63, None, None, None, None, None)
    more = summarise(range(1000, 1064))
    assert more.p90 == 1000 + 57
    assert more.p95 is None
    assert summarise(range(1, 131)).p95 == 124
    assert summarise(range(1, 663)).p99 == 656
    assert summarise(range(1, 6637)).p999 == 6630


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_figures_agree_with_their_definitions(values):
    latency = summarise(values)
    ordered = sorted(values)
    assert latency.min == ordered[0]
    assert latency.p50 == ordered[(len(ordered) + 1) // 2 - 1]
    assert latency.mean == pytest.approx(sum(values) / len(values))
    assert latency.mad == pytest.approx(float(np.median([abs(value - latency.p50) for value in values])))
    for figure, q in ((latency.p90, 0.9), (latency.p95, 0.95), (latency.p99, 0.99)):
        if figure is not None:
            assert sum(value <= figure for value in values) >= q * len(values)
    if latency.p50_ci_low is not None and latency.p50_ci_high is not None:
        assert latency.p50_ci_low <= latency.p50 <= latency.p50_ci_high


def test_median_interval_covers_95_percent_of_repeated_samples():
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        low, high = quantile_interval(np.sort(random.exponential(1e6, 101).astype(np.int64)), 0.5)
        covered += low <= np.log(2) * 1e6 <= high
    assert 0.93 <= covered / 400 <= 0.99


def test_interval_of_a_tiny_sample_is_open():
    assert quantile_interval(np.array([1, 2, 3]), 0.9) == (1, None)
    assert quantile_interval(np.array([1, 2, 3]), 0.5) == (None, None)


def test_outliers_are_counted_and_never_dropped():
    values = [*range(100, 200), 260, 1000]
    latency = summarise(values)
    assert latency.n == 102
    assert (latency.outliers_mild, latency.outliers_severe) == (1, 1)
    assert outliers(np.array([5, 5, 5, 5])) == (0, 0)


def test_quantile_is_nearest_rank():
    ordered = np.array([10, 20, 30, 40])
    assert [quantile(ordered, q) for q in (0.0, 0.25, 0.26, 0.5, 1.0)] == [10, 10, 20, 20, 40]


def test_no_latencies_are_no_figures():
    with pytest.raises(InvalidInputError):
        summarise([])
