"""Beliefs about slowdown, arrivals and overhead."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muster_agent.core.estimate import ArrivalRate, Overhead, Slowdown

MS = 1_000_000
S = 1_000_000_000


def test_a_lasting_slowdown_is_followed_within_a_dozen_requests() -> None:
    slowdown = Slowdown()
    for index in range(12):
        slowdown.observe(3.0, index * 20 * MS)
    mean, _ = slowdown.read(12 * 20 * MS)
    assert 2.5 < mean <= 3.0


def test_one_hiccup_moves_the_mean_by_at_most_its_own_size() -> None:
    slowdown = Slowdown()
    for index in range(50):
        slowdown.observe(1.0, index * 20 * MS)
    slowdown.observe(100.0, 50 * 20 * MS)
    mean, _ = slowdown.read(50 * 20 * MS)
    assert mean < 1.3


def test_an_unseen_slowdown_halves_in_two_seconds() -> None:
    slowdown = Slowdown()
    for index in range(100):
        slowdown.observe(3.0, index * 20 * MS)
    last_ns = 99 * 20 * MS + S // 4
    excess = slowdown.read(last_ns)[0] - 1
    assert slowdown.read(last_ns + 2 * S)[0] - 1 == pytest.approx(excess / 2)
    assert slowdown.read(last_ns + 60 * S)[0] == pytest.approx(1.0, abs=1e-6)


@example([(1.0, 0), (3.5e-52, 10 * S)])  # nearly all weight on next to nothing
@given(st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 10 * S)), max_size=60))
def test_slowdown_stays_finite_whatever_it_sees(observations: list[tuple[float, int]]) -> None:
    slowdown, now_ns = Slowdown(), 0
    for ratio, gap_ns in observations:
        now_ns += gap_ns
        slowdown.observe(ratio, now_ns)
        mean, sigma = slowdown.read(now_ns)
        assert math.isfinite(mean) and mean > 0  # noqa: PT018
        assert sigma >= 0


def test_a_steady_stream_has_its_rate() -> None:
    rate = ArrivalRate()
    for index in range(400):
        rate.arrived(index * 20 * MS)
    assert rate.per_s(400 * 20 * MS) == pytest.approx(50, rel=0.05)


def test_a_burst_shows_within_half_a_second() -> None:
    rate, source, now_ns = ArrivalRate(), random.Random(1), 0
    while now_ns < 5 * S:
        now_ns += round(source.expovariate(10) * S)
        rate.arrived(now_ns)
    quiet = rate.per_s(now_ns)
    end_ns = now_ns + S // 2
    while now_ns < end_ns:
        now_ns += round(source.expovariate(100) * S)
        rate.arrived(now_ns)
    assert quiet < 16
    assert rate.per_s(now_ns) > 50


def test_a_stream_that_ends_is_forgotten_after_two_seconds() -> None:
    rate = ArrivalRate()
    for index in range(100):
        rate.arrived(index * 10 * MS)
    assert rate.per_s(S + 3 * S) == 0


@given(st.lists(st.integers(0, 3 * S), max_size=100), st.integers(0, 5 * S))
def test_a_rate_is_never_negative_nor_more_than_what_came(gaps_ns: list[int], later_ns: int) -> None:
    rate, now_ns = ArrivalRate(), 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        rate.arrived(now_ns)
    found = rate.per_s(now_ns + later_ns)
    assert 0 <= found <= 2 * len(gaps_ns)


def test_a_clock_that_steps_back_breaks_nothing() -> None:
    rate = ArrivalRate()
    rate.arrived(10 * S)
    rate.arrived(9 * S)
    assert rate.per_s(10 * S) > 0


def test_overhead_is_bounded_by_its_ceiling() -> None:
    overhead = Overhead(1.0 * MS, 10.0 * MS)
    for _ in range(100):
        overhead.observe(500 * MS)
    assert overhead.reserve_ns == 10 * MS
    for _ in range(200):
        overhead.observe(2 * MS)
    assert overhead.reserve_ns == pytest.approx(2 * MS, rel=0.05)
