"""What a request costs this process in CPU time beside its inference, and how much CPU there is to have."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from muster_devices.cgroups import cpu_quota_cores

_WINDOW_NS = 500_000_000
_LEAST_REQUESTS = 10  # in a window: with fewer, what the process does anyway would be charged to them
_CORES_LIFE_NS = 10_000_000_000  # a quota can be changed while the process runs


def usable_cores() -> float:
    """Cores this process may use: its affinity, or a tighter CPU quota; infinite where neither can be read."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0))) if affinity is not None else math.inf
    try:
        quota = cpu_quota_cores()
    except OSError:  # the groups' files are closed to a confined process
        quota = None
    return cores if quota is None else min(cores, quota)


class CpuMeter:
    """For a process that does nothing but serve; inside an app its own work would count as ours."""

    __slots__ = (
        "_began_ns",
        "_cores",
        "_cores_read_ns",
        "_inference_ns",
        "_process_ns",
        "_read_cores",
        "_read_process_ns",
        "_requests",
    )

    def __init__(
        self,
        read_process_ns: Callable[[], int] = time.process_time_ns,
        read_cores: Callable[[], float] = usable_cores,
    ) -> None:
        self._read_process_ns = read_process_ns
        self._read_cores = read_cores
        self._began_ns = self._process_ns = self._inference_ns = self._requests = 0
        self._cores, self._cores_read_ns = math.inf, -_CORES_LIFE_NS

    def inferred(self, thread_cpu_ns: int, threads: int) -> None:
        """A request was answered; its inference took so much CPU time on each of so many threads."""
        self._inference_ns += thread_cpu_ns * max(1, threads)
        self._requests += 1

    def refused(self) -> None:
        """A request was read and refused."""
        self._requests += 1

    def read(self, now_ns: int) -> tuple[float, float] | None:
        """(ns of CPU per request beside inference, usable cores) twice a second while there are requests, else None.

        ``now_ns`` is monotonic.
        """
        if now_ns - self._began_ns < _WINDOW_NS:
            return None
        process_ns = self._read_process_ns()
        spent_ns, requests = process_ns - self._process_ns - self._inference_ns, self._requests
        is_whole = self._began_ns > 0 and now_ns - self._began_ns < 2 * _WINDOW_NS
        self._began_ns, self._process_ns, self._inference_ns, self._requests = now_ns, process_ns, 0, 0
        if not is_whole or requests < _LEAST_REQUESTS:
            return None
        if now_ns - self._cores_read_ns >= _CORES_LIFE_NS:
            self._cores, self._cores_read_ns = self._read_cores(), now_ns
        return max(0.0, spent_ns / requests), self._cores
