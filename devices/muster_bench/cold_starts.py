"""Several cold starts, each in a process of its own."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Mapping
from typing import Any

from muster_bench.converse import run_child
from muster_bench.limits import ChildLimits
from muster_protos.model import ColdStart

_PHASES = ("spawn", "import_runtime", "load", "first_inference")


def measure_cold_starts(
    spawns: int,
    spec: Mapping[str, Any],
    limits: ChildLimits,
    *,
    stop: threading.Event | None = None,
    on_spawn: Callable[[int], None] | None = None,
) -> ColdStart:
    """The median of each phase over ``spawns`` children.

    The page cache is "warm": the artifact was hashed or read just before, and the runtime ran in the first spawn; only
    a privileged process could empty it.

    Raises:
        ChildError: a child crashed, hung or could not execute the artifact.
        StoppedError: ``stop`` was set.
    """
    results = [run_child("cold_start", spec, limits, stop=stop, on_spawn=on_spawn) for _ in range(spawns)]
    medians = {phase: int(statistics.median(int(result[phase]) for result in results)) for phase in _PHASES}
    return ColdStart(
        spawn=medians["spawn"],
        import_runtime=medians["import_runtime"],
        load=medians["load"],
        first_inference=medians["first_inference"],
        spawns=spawns,
        page_cache="warm",
    )
