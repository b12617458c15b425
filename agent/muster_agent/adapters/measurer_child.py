"""Benchmarks and self-tests in throw-away children of ``muster_bench``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext

from muster_agent.ports import Subject
from muster_bench.errors import StoppedError
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark, run_self_test
from muster_devices.emulation import Emulator
from muster_devices.facts import device_facts
from muster_devices.turn import take_turn
from muster_protos.errors import InvalidInputError
from muster_protos.model import BenchmarkRecord, BenchmarkRequest, Configuration, Progress

DEFAULT_WALL_S = 900.0
SELF_TEST_WALL_S = 120.0
_TURN_TIMEOUT_S = 1800.0
_MIB = 1 << 20
_ADDRESS_SPACE_FLOOR_BYTES = 1024 * _MIB  # ONNX Runtime reserves far more address space than it uses


class ChildMeasurer:
    """Measures this device, or the emulated one that this process pretends to be."""

    def __init__(self, device_id: str, agent_version: str, emulator: Emulator | None = None) -> None:
        self._device_id = device_id
        self._agent_version = agent_version
        self._emulator = emulator

    def benchmark(
        self,
        subject: Subject,
        request: BenchmarkRequest,
        on_progress: Callable[[Progress], None],
        stop: threading.Event,
    ) -> BenchmarkRecord:
        emulator = self._emulator
        emulation = emulator.describe() if emulator else None
        spec = MeasureSpec(
            artifact_path=subject.artifact_path,
            manifest=subject.manifest,
            request=request,
            evaluation_path=subject.evaluation_path,
            device=device_facts(
                device_id=self._device_id,
                emulation=emulation,
                emulated_memory_bytes=emulator.memory_limit_bytes if emulator else None,
            ),
            emulation=emulation,
            slowdown_ratio=emulator.slowdown_ratio if emulator else 1.0,
            agent_version=self._agent_version,
        )
        wall_s = request.deadline_ms / 1000 if request.deadline_ms > 0 else DEFAULT_WALL_S
        try:
            with take_turn(stop, _TURN_TIMEOUT_S) if emulator else nullcontext():
                return run_benchmark(spec, self._limits(wall_s), on_progress, stop)
        except StoppedError as error:
            raise InterruptedError(str(error)) from error

    def self_test(self, subject: Subject, configuration: Configuration) -> None:
        if subject.golden_path is None:
            raise InvalidInputError(
                f"expected golden inputs of {subject.manifest.variant_id}, found none; nothing is activated untested"
            )
        run_self_test(
            subject.artifact_path, subject.manifest, configuration, subject.golden_path, self._limits(SELF_TEST_WALL_S)
        )

    def _limits(self, wall_s: float) -> ChildLimits:
        """Address space of twice the emulated memory, but never too little for a runtime to start in."""
        memory = self._emulator.memory_limit_bytes if self._emulator else None
        limit = None if memory is None else max(2 * memory, _ADDRESS_SPACE_FLOOR_BYTES)
        return ChildLimits(wall_s=wall_s, memory_bytes=limit)
