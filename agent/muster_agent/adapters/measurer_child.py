"""Benchmarks and self-tests in throw-away children of ``muster_bench``."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from muster_agent.memory_share import memory_share_bytes, reserves_freely
from muster_agent.ports import Subject
from muster_bench.errors import StoppedError
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark, run_self_test
from muster_devices.data_limit import DataLimit
from muster_devices.emulation import Emulator
from muster_devices.facts import device_facts, usable_cores
from muster_devices.turn import take_turn
from muster_protos.errors import InvalidInputError
from muster_protos.model import BenchmarkRecord, BenchmarkRequest, Configuration, Progress

DEFAULT_WALL_S = 900.0
SELF_TEST_WALL_S = 120.0
_TURN_TIMEOUT_S = 1800.0
_MIB = 1 << 20
_ADDRESS_SPACE_FLOOR_BYTES = 1024 * _MIB  # ONNX Runtime reserves far more address space than it uses


class ChildMeasurer:
    """Measures this device, or the emulated one that this process pretends to be.

    A child may write to the emulated device's memory, or to three quarters of this one's; with a GPU's provider
    neither limit holds.
    """

    def __init__(
        self,
        device_id: str,
        agent_version: str,
        emulator: Emulator | None = None,
        root: Path = Path("/"),
        wait_for_quiet: Callable[[], object] = lambda: None,
    ) -> None:
        """``wait_for_quiet`` returns when this agent's own children would no longer be measured along."""
        self._device_id = device_id
        self._agent_version = agent_version
        self._emulator = emulator
        self._root = root
        self._wait_for_quiet = wait_for_quiet

    def benchmark(
        self,
        subject: Subject,
        request: BenchmarkRequest,
        on_progress: Callable[[Progress], None],
        stop: threading.Event,
    ) -> BenchmarkRecord:
        self._wait_for_quiet()
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
                limits = self.limits(wall_s, request.configuration)
                return run_benchmark(spec, limits, on_progress, stop, self._enter(request.configuration))
        except StoppedError as error:
            raise InterruptedError(str(error)) from error

    def self_test(self, subject: Subject, configuration: Configuration) -> None:
        if subject.golden_path is None:
            raise InvalidInputError(
                f"expected golden inputs of {subject.manifest.variant_id}, found none; nothing is activated untested"
            )
        run_self_test(
            subject.artifact_path,
            subject.manifest,
            configuration,
            subject.golden_path,
            self.limits(SELF_TEST_WALL_S, configuration),
            on_spawn=self._enter(configuration),
        )

    def limits(self, wall_s: float, configuration: Configuration) -> ChildLimits:
        """CPU time of every thread for the whole wall time; address space of twice the memory that may be written.

        Never less address space than a runtime needs to start in.
        """
        memory = self._memory_bytes(configuration)
        address_space = None if memory is None else max(2 * memory, _ADDRESS_SPACE_FLOOR_BYTES)
        threads = configuration.threads or usable_cores(self._root)
        return ChildLimits(wall_s=wall_s, cpu_s=math.ceil(wall_s * threads), memory_bytes=address_space)

    def _memory_bytes(self, configuration: Configuration) -> int | None:
        if self._emulator is not None and self._emulator.memory_limit_bytes is not None:
            return self._emulator.memory_limit_bytes
        return None if reserves_freely(configuration.provider) else memory_share_bytes(self._root)

    def _enter(self, configuration: Configuration) -> Callable[[int], None] | None:
        """Limits a child's writable memory before it loads anything; an emulated device's children are born limited."""
        if self._emulator is not None and self._emulator.memory_limit_bytes is not None:
            return None
        memory = self._memory_bytes(configuration)
        return None if memory is None else DataLimit(memory).enter
