"""What the slow loop looks at once a second: heat, throttling, battery, memory, CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_agent.core.caps import Readings
from muster_devices.facts import available_bytes, usable_ram_bytes
from muster_devices.sensors.power_supply import read_battery
from muster_devices.thermal import ThermalReading, read_thermal
from muster_devices.tree import find, read_int, read_text

_LIMITED_RATIO = 0.95  # of the frequency limit at the start


class EmulatedSensors:
    """Of an emulated device: the host's heat, battery and load are not its own, and nothing stands in for them.

    Args:
        is_memory_own: a control group bounds the device's memory, so that what is free of it can be read.
    """

    def __init__(self, is_memory_own: bool, root: Path = Path("/")) -> None:
        self._is_memory_own = is_memory_own
        self._root = root

    def read(self) -> Readings:
        if not self._is_memory_own:
            return Readings()
        return Readings(available_bytes=available_bytes(self._root), ram_bytes=usable_ram_bytes(self._root))


@dataclass(frozen=True, slots=True)
class _CpuTimes:
    busy: int
    total: int


class RootSensors:
    """Reads below ``root``, so that a recorded tree works as well as the device itself."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._ram_bytes = usable_ram_bytes(root)
        first = read_thermal(root)
        self._limit_hz = first.frequency_limit_hz
        self._over_current_events = first.over_current_events
        self._cpu = _cpu_times(root)

    def read(self) -> Readings:
        thermal, battery = read_thermal(self._root), read_battery(self._root)
        celsius, trip_celsius = _tightest_zone(self._root)
        return Readings(
            temperature_celsius=thermal.max_celsius if celsius is None else celsius,
            trip_celsius=trip_celsius,
            throttle_flags=(*thermal.throttle_flags, *self._other_flags(thermal)),
            battery_ratio=battery.charge_ratio if battery else None,
            is_charging=battery.status != "Discharging" if battery else None,
            available_bytes=available_bytes(self._root),
            ram_bytes=self._ram_bytes,
            cpu_ratio=self._cpu_ratio(),
        )

    def _other_flags(self, thermal: ThermalReading) -> tuple[str, ...]:
        flags: list[str] = []
        limit_hz = thermal.frequency_limit_hz
        if limit_hz is not None and self._limit_hz is not None and limit_hz < _LIMITED_RATIO * self._limit_hz:
            flags.append(f"frequency limited to {limit_hz / 1e6:.0f} of {self._limit_hz / 1e6:.0f} MHz")
        events = thermal.over_current_events
        if events is not None and self._over_current_events is not None and events > self._over_current_events:
            flags.append("over-current throttling")
        self._over_current_events = events
        return tuple(flags)

    def _cpu_ratio(self) -> float | None:
        before, now = self._cpu, _cpu_times(self._root)
        self._cpu = now
        if before is None or now is None or now.total <= before.total:
            return None
        return (now.busy - before.busy) / (now.total - before.total)


def _tightest_zone(root: Path) -> tuple[float | None, float | None]:
    """Temperature and passive trip point of the zone with the least headroom; (None, None) without trip points."""
    tightest: tuple[float | None, float | None] = (None, None)
    least = float("inf")
    for path in find(root, "sys/class/thermal/thermal_zone*/trip_point_*_type"):
        if read_text(root, path) not in ("passive", "hot"):
            continue
        trip = read_int(root, path.removesuffix("type") + "temp")
        now = read_int(root, f"{path.rpartition('/')[0]}/temp")
        if trip is None or now is None or trip <= 0:
            continue
        if trip - now < least:
            least = trip - now
            tightest = (now / 1000, trip / 1000)
    return tightest


def _cpu_times(root: Path) -> _CpuTimes | None:
    """Jiffies of the first line of /proc/stat (user, nice, system, idle, iowait, irq, softirq, steal)."""
    line = (read_text(root, "proc/stat") or "").partition("\n")[0].split()
    if len(line) < 9 or line[0] != "cpu":
        return None
    times = [int(word) for word in line[1:9]]
    return _CpuTimes(sum(times) - times[3] - times[4], sum(times))
