import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.binomial import binomial_cdf, incomplete_beta


@given(st.integers(1, 200), st.floats(0.001, 0.999), st.data())
def test_it_is_the_sum_of_the_probabilities(n, p, data):
    k = data.draw(st.integers(0, n))
    expected = math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert binomial_cdf(k, n, p) == pytest.approx(expected, abs=1e-9)


def test_nothing_is_below_zero_and_all_is_at_n():
    assert binomial_cdf(-1, 10, 0.5) == 0.0
    assert binomial_cdf(10, 10, 0.5) == 1.0


def test_large_samples_converge():
    assert binomial_cdf(500_000, 1_000_000, 0.5) == pytest.approx(0.5004, abs=1e-4)


def test_incomplete_beta_ends_at_0_and_1():
    assert incomplete_beta(2, 3, 0.0) == 0.0
    assert incomplete_beta(2, 3, 1.0) == 1.0
