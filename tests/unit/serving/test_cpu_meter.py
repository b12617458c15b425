"""What requests cost beside their inference."""

from __future__ import annotations

import math

from muster_agent.serving.cpu_meter import CpuMeter, usable_cores

MS = 1_000_000


def test_a_window_of_requests_gives_the_rest_of_the_cpu_time_per_request() -> None:
    spent_ns = 0
    meter = CpuMeter(lambda: spent_ns, lambda: 0.25)
    assert meter.read(1000 * MS) is None  # the first window has no beginning
    for _ in range(15):
        meter.inferred(2 * MS, threads=2)
    for _ in range(5):
        meter.refused()
    spent_ns = 15 * 4 * MS + 20 * MS
    assert meter.read(1200 * MS) is None
    assert meter.read(1500 * MS) == (1 * MS, 0.25)


def test_few_requests_or_a_long_pause_say_nothing() -> None:
    spent_ns = 0
    meter = CpuMeter(lambda: spent_ns, lambda: 1.0)
    meter.read(1000 * MS)
    spent_ns = 50 * MS
    meter.inferred(1 * MS, 1)
    assert meter.read(1500 * MS) is None
    for _ in range(20):
        meter.inferred(1 * MS, 1)
    assert meter.read(9000 * MS) is None


def test_a_changed_quota_is_seen_and_helper_threads_that_slept_cost_nothing() -> None:
    spent_ns, cores = 0, 1.0
    meter = CpuMeter(lambda: spent_ns, lambda: cores)
    meter.read(500 * MS)
    seen = []
    for half_second in range(2, 26):
        for _ in range(10):
            meter.inferred(MS, threads=4)
        spent_ns += 15 * MS
        seen.append(meter.read(half_second * 500 * MS))
        cores = 0.5
    assert seen[0] == (0.0, 1.0)
    assert seen[-1] == (0.0, 0.5)


def test_this_process_has_some_cores() -> None:
    assert 0 < usable_cores() < math.inf
