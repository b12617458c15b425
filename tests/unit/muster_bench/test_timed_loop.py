import time

from muster_bench import timed_loop
from muster_bench.slowdown import Slowdown
from muster_bench.tiers import RunLength
from muster_bench.timed_loop import run_loop


class Clock:
    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


class Query:
    """A query of known durations; the last repeats."""

    def __init__(self, clock, durations_ns):
        self.outputs = {}
        self.clock, self.durations_ns, self.calls = clock, list(durations_ns), 0

    def run(self):
        self.clock.now_ns += self.durations_ns[min(self.calls, len(self.durations_ns) - 1)]
        self.calls += 1


def loop(durations_ns, length):
    clock = Clock()
    query = Query(clock, durations_ns)
    return run_loop([query], length, Slowdown(), clock=clock), query


LENGTH = RunLength(min_queries=20, min_duration_s=1.0, cap_s=600.0, warmup_min_s=0.1, warmup_cap_s=30.0)


def test_it_runs_until_both_queries_and_duration_hold():
    fast, _ = loop([1_000_000], LENGTH)
    assert (fast.queries, fast.duration_ns) == (1000, 1_000_000_000)
    slow, _ = loop([1_000_000_000], LENGTH)
    assert (slow.queries, slow.duration_ns) == (20, 20_000_000_000)


def test_the_cap_ends_it_before_that():
    result, _ = loop([1_000_000_000], RunLength(1000, 1.0, cap_s=5.0, warmup_min_s=0, warmup_cap_s=0))
    assert result.queries == 5


def test_warm_up_goes_on_until_two_blocks_agree_and_is_kept_apart():
    slow_start = [50_000_000] * 3 + [30_000_000] * 10 + [10_000_000] * 10 + [5_000_000]
    result, query = loop(slow_start, LENGTH)
    assert result.warmup_queries == 3 + 10 + 10 + 10 + 10
    assert set(result.latencies_ns) == {5_000_000}
    assert query.calls == result.warmup_queries + result.queries


def test_warm_up_that_never_settles_ends_at_its_cap():
    restless = [1_000_000 * (i + 1) for i in range(4000)]
    result, _ = loop(restless, RunLength(1, 0.0, warmup_min_s=0.0, warmup_cap_s=1.0))
    assert 40 <= result.warmup_queries <= 60


def test_inputs_are_rotated():
    clock = Clock()
    queries = [Query(clock, [1_000_000]) for _ in range(3)]
    run_loop(queries, RunLength(30, 0.0, warmup_min_s=0, warmup_cap_s=0), Slowdown(), clock=clock)
    assert {query.calls for query in queries} == {11}  # 10 measured, 1 of the 3 warm-up runs


def test_memory_is_bounded_and_the_sample_stays_spread_over_time(monkeypatch):
    monkeypatch.setattr(timed_loop, "SAMPLES_KEPT", 64)
    clock = Clock()
    query = Query(clock, range(1, 10_000))
    result = run_loop([query], RunLength(1000, 0.0, warmup_min_s=0, warmup_cap_s=0), Slowdown(), clock=clock)
    assert result.queries == 1000
    assert result.stride == 16
    assert list(result.latencies_ns) == list(range(4, 1004, 16))


def test_progress_is_reported_between_queries():
    heard = []
    clock = Clock()
    run_loop(
        [Query(clock, [100_000_000])],
        RunLength(20, 2.0, warmup_min_s=0, warmup_cap_s=0),
        Slowdown(),
        lambda queries, elapsed_ns: heard.append((queries, elapsed_ns)),
        clock,
    )
    assert heard == [(5, 500_000_000), (10, 1_000_000_000), (15, 1_500_000_000)]


def test_a_declared_slowdown_stretches_real_work():
    started_ns = time.perf_counter_ns()
    while time.perf_counter_ns() < started_ns + 2_000_000:
        pass
    Slowdown(3.0).stretch(started_ns)
    assert time.perf_counter_ns() - started_ns >= 6_000_000
