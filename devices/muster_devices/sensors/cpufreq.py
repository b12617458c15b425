"""CPU frequency and governor. Source: https://docs.kernel.org/admin-guide/pm/cpufreq.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import find, read_int, read_text


@dataclass(frozen=True, slots=True)
class Frequency:
    """The fastest policy (on big.LITTLE: the big cores)."""

    current_hz: int
    limit_hz: int | None  # what governor, user or cooling device allow just now
    hardware_max_hz: int | None
    governor: str


def read_frequency(root: Path = Path("/")) -> Frequency | None:
    """The frequency of the fastest cores, or None where the kernel does not scale it."""
    best: Frequency | None = None
    for folder in find(root, "sys/devices/system/cpu/cpufreq/policy*"):
        current = read_int(root, f"{folder}/scaling_cur_freq")
        if current is None or current <= 0:
            continue
        frequency = Frequency(
            current * 1000,
            _hz(read_int(root, f"{folder}/scaling_max_freq")),
            _hz(read_int(root, f"{folder}/cpuinfo_max_freq")),
            read_text(root, f"{folder}/scaling_governor") or "",
        )
        if best is None or (frequency.hardware_max_hz or 0) > (best.hardware_max_hz or 0):
            best = frequency
    return best


def unavailable_reason(root: Path = Path("/")) -> str:
    """Why no frequency can be read, "" when one can."""
    return "" if read_frequency(root) else "no cpufreq policy in /sys/devices/system/cpu/cpufreq (virtual machine?)"


def _hz(khz: int | None) -> int | None:
    return khz * 1000 if khz else None
