"""Several cold starts, each in a process of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from muster_bench.converse import run_child
from muster_bench.limits import ChildLimits
from muster_protos.model import ColdStart

_SHARE_OF_WALL = 0.25
_PHASES = ("spawn", "import_runtime", "load", "first_inference")


def measure_cold_starts(
    spawns: int,
    spec: Mapping[str, Any],
    limits: ChildLimits,
    *,
    stop: threading.Event | None = None,
    on_spawn: Callable[[int], None] | None = None,
) -> ColdStart:
    """The median of each phase over ``spawns`` children, or as many as start within a quarter of the wall limit.

    The page cache is "warm": the artifact was hashed or read just before, and the runtime ran in the first spawn; only
    a privileged process could empty it.

    Raises:
        ChildError: a child crashed, hung or could not execute the artifact.
        StoppedError: ``stop`` was set.
    """
    enough_ns = time.monotonic_ns() + int(limits.wall_s * _SHARE_OF_WALL * 1e9)
    results = [run_child("cold_start", spec, limits, stop=stop, on_spawn=on_spawn)]
    while len(results) < spawns and time.monotonic_ns() < enough_ns:
        results.append(run_child("cold_start", spec, limits, stop=stop, on_spawn=on_spawn))
    medians = {phase: _median(int(result[phase]) for result in results) for phase in _PHASES}
    return ColdStart(
        spawn=medians["spawn"],
        import_runtime=medians["import_runtime"],
        load=medians["load"],
        first_inference=medians["first_inference"],
        spawns=len(results),
        page_cache="warm",
    )


def _median(values: Iterable[int]) -> int:
    """Of a few whole numbers; ``statistics`` would bring ``decimal`` into the agent's memory for it."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2
