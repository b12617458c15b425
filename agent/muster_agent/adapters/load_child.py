"""Loads as a child process; see ``muster_agent.load_process``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from muster_agent.load_process import LoadSpec, run_load
from muster_protos.model import LoadRequest, LoadResult


class ChildLoad:
    """Runs loads; ``enter`` puts busy cores inside an emulated device's limits, ``leave`` takes the sender out."""

    def __init__(self, enter: Callable[[int], None] | None = None, leave: Callable[[int], None] | None = None) -> None:
        self._enter = enter
        self._leave = leave

    def run(
        self, request: LoadRequest, http_port: int, slo_ns: int, inputs: Path | None, stop: threading.Event
    ) -> LoadResult:
        spec = LoadSpec(
            request=request, http_port=http_port, slo_ns=slo_ns, inputs_path=str(inputs.absolute()) if inputs else ""
        )
        return run_load(spec, stop, self._enter, self._leave)
