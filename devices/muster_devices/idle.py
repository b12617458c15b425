"""How many cores the whole host has left over: what tells contention where a CPU quota spoils the pressure figures.

The kernel counts a process that its own quota holds back as a waiting one: alone on an idle host, a busy loop under a
quota of 25 % shows about 40 % of CPU pressure. Idle cores do not have that flaw. Source: proc_stat(5).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import read_text

WINDOW_S = 0.5


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Clock ticks since boot, all cores together."""

    idle: int
    total: int
    cores: int


def idle_cores(root: Path = Path("/"), wait: Callable[[float], None] = time.sleep) -> float | None:
    """Cores that were idle on average over half a second; None when /proc/stat does not tell."""
    before = read_cpu_times(root)
    wait(WINDOW_S)
    after = read_cpu_times(root)
    if before is None or after is None or after.total <= before.total:
        return None
    return (after.idle - before.idle) / (after.total - before.total) * after.cores


def read_cpu_times(root: Path = Path("/")) -> CpuTimes | None:
    """The counters of /proc/stat; waiting for a disk is idle time."""
    lines = [line.split() for line in (read_text(root, "proc/stat") or "").splitlines() if line.startswith("cpu")]
    if not lines or len(lines[0]) < 9:
        return None
    ticks = [int(word) for word in lines[0][1:9]]  # user nice system idle iowait irq softirq steal
    return CpuTimes(ticks[3] + ticks[4], sum(ticks), len(lines) - 1)
