"""The arithmetic of queues."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.core.queueing import backlog_p99_ns, rescue_start_ns, utilisation

MS = 1_000_000


def test_an_idle_stream_waits_for_nobody() -> None:
    assert backlog_p99_ns(20 * MS, 0) == 20 * MS


def test_the_formula_at_half_load() -> None:
    assert utilisation(20 * MS, 25) == 0.5
    assert backlog_p99_ns(20 * MS, 25) == pytest.approx(20 * MS * (1 + math.log(100) / 2))


def test_a_stream_at_95_percent_has_no_bounded_backlog() -> None:
    assert backlog_p99_ns(20 * MS, 47.5) == math.inf


@given(st.floats(1, 1e9), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_requests_never_wait_less(service_ns: float, rate: float, more: float) -> None:
    assert backlog_p99_ns(service_ns, rate) <= backlog_p99_ns(service_ns, rate + more)


def test_nobody_waiting_needs_no_rescue() -> None:
    assert rescue_start_ns((), 50 * MS, 5 * MS) == math.inf


def test_the_tightest_of_those_who_wait_decides() -> None:
    assert rescue_start_ns((0, 1 * MS), 50 * MS, 5 * MS) == 41 * MS  # the second one: 1 + 50 - 2 * 5


@given(st.lists(st.integers(0, 100 * MS), min_size=1, max_size=30).map(sorted), st.integers(1, 20 * MS))
def test_starting_at_the_rescue_moment_is_just_in_time(arrivals_ns: list[int], each_ns: int) -> None:
    limit_ns = 50 * MS
    start_ns = rescue_start_ns(arrivals_ns, limit_ns, each_ns)
    ends = [start_ns + each_ns * (index + 1) for index in range(len(arrivals_ns))]
    slacks = [arrival + limit_ns - end for arrival, end in zip(arrivals_ns, ends, strict=True)]
    assert min(slacks) == pytest.approx(0, abs=1)
