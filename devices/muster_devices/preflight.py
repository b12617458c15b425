"""Pre-flight readings: what makes a benchmark run noisy, and what forbids it.

A run is tagged when the CPU pressure "some avg10" is above 5 % or the device is more than 3 C over its idle
temperature. It is refused when the memory that it takes at least is not free or the battery would not last.
A device that is emulated by a CPU quota makes that pressure itself, so there the host's idle cores decide instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from muster_devices.cgroups import own_group
from muster_devices.control_group import PREFIX
from muster_devices.facts import available_bytes
from muster_devices.idle import idle_cores, read_cpu_times
from muster_devices.pressure import PressureReading, read_pressure
from muster_devices.sensors.power_supply import is_on_mains, read_battery
from muster_devices.thermal import ThermalReading, read_thermal

MAX_CPU_PRESSURE_PERCENT = 5.0
MAX_WARMING_CELSIUS = 3.0
MIN_BATTERY_RATIO = 0.15
MIN_IDLE_CORES = 1.0  # under a quota: one whole core to run on whenever the quota allows
MIN_IDLE_RATIO = 0.9  # of a host with one core
_MIB = 1 << 20
_STEADY_GOVERNORS = ("performance", "userspace", "")


@dataclass(frozen=True, slots=True)
class Preflight:
    """The device as it is before a run."""

    reasons: tuple[str, ...]  # tag the run with these
    refusals: tuple[str, ...]  # do not run at all
    is_busy: bool  # something else works on the cores
    is_warm: bool  # over its idle temperature
    pressure: PressureReading
    thermal: ThermalReading
    available_bytes: int | None
    is_on_mains: bool | None  # None = the kernel knows of no supply

    @property
    def is_quiet(self) -> bool:
        """Whether a run may begin and count as undisturbed."""
        return not self.reasons and not self.refusals


def check(
    root: Path = Path("/"),
    idle_celsius: float | None = None,
    needed_bytes: int = 0,
    wait: Callable[[float], None] = time.sleep,
) -> Preflight:
    """Look at the device before a run; takes half a second where the host's idle cores must be counted.

    Args:
        root: the tree with proc and sys.
        idle_celsius: its temperature at rest when that is known, see ``idle_temperature``.
        needed_bytes: memory that the run takes at least.
        wait: sleeps for so many seconds.
    """
    pressure, thermal, available = read_pressure(root), read_thermal(root), available_bytes(root)
    busy, warm = _pressure_reasons(root, pressure, wait), _warming_reasons(thermal, idle_celsius)
    return Preflight(
        reasons=(*busy, *warm, *_thermal_reasons(thermal), *_supply_reasons(root)),
        refusals=(*_memory_refusals(available, needed_bytes), *_battery_refusals(root)),
        is_busy=pressure.cpu_percent is not None and bool(busy),
        is_warm=bool(warm),
        pressure=pressure,
        thermal=thermal,
        available_bytes=available,
        is_on_mains=is_on_mains(root),
    )


def _pressure_reasons(root: Path, pressure: PressureReading, wait: Callable[[float], None]) -> list[str]:
    if pressure.cpu_percent is None:
        return ["cpu pressure unknown: " + pressure.unavailable_reason]
    if pressure.cpu_percent <= MAX_CPU_PRESSURE_PERCENT:
        return []
    if not _has_quota_of_ours(root):
        return [f"cpu pressure {pressure.cpu_percent:.1f} % > {MAX_CPU_PRESSURE_PERCENT:.0f} %"]
    return _contention_reasons(root, wait)


def _has_quota_of_ours(root: Path) -> bool:
    group = own_group(root, "cpu")
    return group is not None and group.path.name.startswith(PREFIX)


def _contention_reasons(root: Path, wait: Callable[[float], None]) -> list[str]:
    times, idle = read_cpu_times(root), idle_cores(root, wait)
    if times is None or idle is None:
        return ["idle cores of the host unknown: /proc/stat cannot be read"]
    needed = min(MIN_IDLE_CORES, MIN_IDLE_RATIO * times.cores)
    return [] if idle >= needed else [f"{idle:.2f} cores of the host idle < {needed:.1f}"]


def _warming_reasons(thermal: ThermalReading, idle_celsius: float | None) -> list[str]:
    if thermal.max_celsius is None or idle_celsius is None:
        return []
    warming = thermal.max_celsius - idle_celsius
    if warming <= MAX_WARMING_CELSIUS:
        return []
    return [f"{warming:.1f} C over the idle temperature > {MAX_WARMING_CELSIUS:.0f} C"]


def _thermal_reasons(thermal: ThermalReading) -> list[str]:
    reasons = []
    if thermal.throttle_flags:
        reasons.append(f"throttled: {', '.join(thermal.throttle_flags)}")
    limit_hz, max_hz = thermal.frequency_limit_hz, thermal.hardware_max_hz
    if limit_hz is not None and max_hz is not None and limit_hz < max_hz:
        reasons.append(f"cpu frequency limited to {limit_hz / 1e6:.0f} of {max_hz / 1e6:.0f} MHz")
    if thermal.governor not in _STEADY_GOVERNORS:
        reasons.append(f"cpu governor {thermal.governor} changes the frequency during a run")
    return reasons


def _supply_reasons(root: Path) -> list[str]:
    return ["on battery"] if is_on_mains(root) is False else []


def _memory_refusals(available: int | None, needed_bytes: int) -> list[str]:
    if available is None or available >= needed_bytes:
        return []
    return [f"{available // _MIB} MiB of memory free, the run takes at least {needed_bytes // _MIB} MiB"]


def _battery_refusals(root: Path) -> list[str]:
    battery = read_battery(root)
    if battery is None or battery.status != "Discharging" or battery.charge_ratio is None:
        return []
    if battery.charge_ratio >= MIN_BATTERY_RATIO:
        return []
    return [f"battery at {battery.charge_ratio:.0%} and discharging, a run needs {MIN_BATTERY_RATIO:.0%}"]
