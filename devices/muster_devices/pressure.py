"""Pressure stall information: how much runnable work had to wait lately, in percent of wall time.

Source: https://docs.kernel.org/accounting/psi.html. "some avg10" is the share of the last 10 s in which at least one
process waited for the resource.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import read_text
from muster_protos.model import Pressure


@dataclass(frozen=True, slots=True)
class PressureReading:
    """One look at the device; None with a reason where the kernel keeps no pressure information."""

    cpu_percent: float | None = None  # "some avg10"
    memory_percent: float | None = None
    io_percent: float | None = None
    load: float | None = None  # 1 min load average
    unavailable_reason: str = ""


def read_pressure(root: Path = Path("/")) -> PressureReading:
    """Read /proc/pressure and /proc/loadavg."""
    cpu, memory, io = (_some_avg10(root, name) for name in ("cpu", "memory", "io"))
    missing = [name for name, value in (("cpu", cpu), ("memory", memory), ("io", io)) if value is None]
    reason = f"no pressure information for {', '.join(missing)} (kernel without PSI, or psi=0)" if missing else ""
    return PressureReading(cpu, memory, io, _load(root), reason)


def over_a_run(before: PressureReading, after: PressureReading) -> Pressure:
    """The two readings around a run as the record carries them."""
    return Pressure(
        cpu_before=before.cpu_percent,
        cpu_after=after.cpu_percent,
        memory_before=before.memory_percent,
        memory_after=after.memory_percent,
        io_before=before.io_percent,
        io_after=after.io_percent,
        load_before=before.load,
        load_after=after.load,
        unavailable_reason=before.unavailable_reason or after.unavailable_reason,
    )


def _some_avg10(root: Path, name: str) -> float | None:
    for line in (read_text(root, f"proc/pressure/{name}") or "").splitlines():
        if line.startswith("some "):
            for field in line.split()[1:]:
                key, _, value = field.partition("=")
                if key == "avg10":
                    return _number(value)
    return None


def _load(root: Path) -> float | None:
    return _number((read_text(root, "proc/loadavg") or "").partition(" ")[0])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
