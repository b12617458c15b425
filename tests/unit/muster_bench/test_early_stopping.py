import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.early_stopping import CONFIDENCE, is_supported, queries_needed
from muster_protos.errors import InvalidInputError


@pytest.mark.parametrize(("quantile", "queries"), [(0.90, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_mlperf_figures_are_reproduced(quantile, queries):
    assert queries_needed(quantile) == queries


@given(st.floats(0.5, 0.995))
def test_it_is_the_least_number_that_shows_the_quantile(quantile):
    def chance_of_at_most_one_over(n):
        return sum(math.comb(n, t) * (1 - quantile) ** t * quantile ** (n - t) for t in (0, 1))

    n = queries_needed(quantile)
    assert chance_of_at_most_one_over(n) <= 1 - CONFIDENCE + 1e-12
    assert chance_of_at_most_one_over(n - 1) > 1 - CONFIDENCE - 1e-12


def test_support_begins_at_that_number():
    assert not is_supported(0.95, 129)
    assert is_supported(0.95, 130)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_percentile_outside_0_to_100_is_refused(quantile):
    with pytest.raises(InvalidInputError, match="between 0 and 100"):
        queries_needed(quantile)
