"""Which of the frontier's configurations become rungs: few, in about equal steps of log latency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

SMALLEST_STEP_RATIO = 1.05
"""A rung less than 5 % faster than the one above is no use: that is within the noise between repetitions."""


def choose_rungs(latencies_ms: Sequence[float], rungs: int) -> tuple[int, ...]:
    """Indices of at most ``rungs`` entries of ``latencies_ms``, which falls strictly from best to cheapest.

    The first and the last entry are always among them (the first alone when ``rungs`` is 1). Those between are chosen
    so that the sum of squared log steps is smallest, which evens the steps out; steps under SMALLEST_STEP_RATIO are
    left out.
    """
    logs = [math.log(latency_ms) for latency_ms in latencies_ms]
    if any(later >= earlier for earlier, later in itertools.pairwise(logs)):
        raise ValueError("expected latencies that fall strictly")
    if len(logs) <= 1 or rungs <= 1:
        return tuple(range(min(1, len(logs))))
    paths = [_cheapest_path(logs, steps) for steps in range(1, min(rungs, len(logs)))]
    return next(path for path in reversed(paths) if path is not None)


def _cheapest_path(logs: Sequence[float], steps: int) -> tuple[int, ...] | None:
    """The path from first to last in exactly ``steps`` steps with the least sum of squares, or None."""
    last = len(logs) - 1
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, (0,))}
    for step in range(1, steps + 1):
        reached: dict[int, tuple[float, tuple[int, ...]]] = {}
        for start, (cost, path) in best.items():
            for end in range(start + 1, last + 1):
                if (end == last) != (step == steps) or not _is_step(logs[start] - logs[end], steps):
                    continue
                candidate = (cost + (logs[start] - logs[end]) ** 2, (*path, end))
                if end not in reached or candidate < reached[end]:
                    reached[end] = candidate
        best = reached
    return best[last][1] if last in best else None


def _is_step(log_step: float, steps: int) -> bool:
    return steps == 1 or log_step >= math.log(SMALLEST_STEP_RATIO)
