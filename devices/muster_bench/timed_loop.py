"""The single-stream loop: one query after the other, monotonic ns clock, preallocated array, collector frozen."""

from __future__ import annotations

import gc
import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muster_bench.runtimes.port import BoundRun
from muster_bench.slowdown import Slowdown
from muster_bench.tiers import RunLength

_WARMUP_MIN_RUNS = 3
_WARMUP_BLOCK = 10
_WARMUP_TOLERANCE = 0.02
_REPORT_EVERY_NS = 500_000_000
SAMPLES_KEPT = 1 << 20


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What one loop gave."""

    latencies_ns: array[int]  # in order of time; every ``stride``-th query
    queries: int
    stride: int
    duration_ns: int
    warmup_queries: int


def run_loop(
    runs: Sequence[BoundRun],
    length: RunLength,
    slowdown: Slowdown,
    on_progress: Callable[[int, int], None] = lambda _queries, _elapsed_ns: None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> LoopResult:
    """Warm up, then rotate through ``runs`` until minimum queries AND minimum duration hold, or the cap is reached.

    At most ``SAMPLES_KEPT`` latencies are kept: when the array is full every second one goes, and from then on only
    every ``stride``-th query is recorded (all are executed), so memory stays bounded and the sample spread over time.
    """
    kept = array("q", bytes(8 * SAMPLES_KEPT))
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        warmup_queries = _warm_up(runs, length, slowdown, clock)
        return _measure(runs, length, slowdown, on_progress, clock, kept, warmup_queries)
    finally:
        gc.enable()
        gc.unfreeze()


def _measure(
    runs: Sequence[BoundRun],
    length: RunLength,
    slowdown: Slowdown,
    on_progress: Callable[[int, int], None],
    clock: Callable[[], int],
    kept: array[int],
    warmup_queries: int,
) -> LoopResult:
    executes = [run.run for run in runs]
    rotation, stretch, is_slowed = len(executes), slowdown.stretch, slowdown.ratio > 1.0
    min_ns, cap_ns = int(length.min_duration_s * 1e9), int(length.cap_s * 1e9)
    queries = count = 0
    stride = 1
    begin_ns = clock()
    report_ns = begin_ns + _REPORT_EVERY_NS
    while True:
        execute = executes[queries % rotation]
        start_ns = clock()
        execute()
        if is_slowed:
            stretch(start_ns)
        end_ns = clock()
        if queries % stride == 0:
            kept[count] = end_ns - start_ns
            count += 1
            if count == SAMPLES_KEPT:
                kept[: count // 2] = kept[::2]
                count //= 2
                stride *= 2
        queries += 1
        elapsed_ns = end_ns - begin_ns
        if (queries >= length.min_queries and elapsed_ns >= min_ns) or elapsed_ns >= cap_ns:
            return LoopResult(kept[:count], queries, stride, elapsed_ns, warmup_queries)
        if end_ns >= report_ns:
            on_progress(queries, elapsed_ns)
            report_ns = end_ns + _REPORT_EVERY_NS


def _warm_up(runs: Sequence[BoundRun], length: RunLength, slowdown: Slowdown, clock: Callable[[], int]) -> int:
    """At least 3 runs and ``warmup_min_s``; then blocks of 10 until two successive medians differ < 2 %, or the cap."""
    begin_ns, queries = clock(), 0

    def once() -> int:
        nonlocal queries
        start_ns = clock()
        runs[queries % len(runs)].run()
        slowdown.stretch(start_ns)
        queries += 1
        return clock() - start_ns

    while queries < _WARMUP_MIN_RUNS or clock() - begin_ns < length.warmup_min_s * 1e9:
        once()
    previous = None
    while clock() - begin_ns < length.warmup_cap_s * 1e9:
        median = statistics.median(once() for _ in range(_WARMUP_BLOCK))
        if previous is not None and abs(median - previous) < _WARMUP_TOLERANCE * previous:
            break
        previous = median
    return queries
