"""Temperatures from /sys/class/thermal. Source: https://docs.kernel.org/driver-api/thermal/sysfs-api.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import find, read_int, read_text

_PLAUSIBLE_MILLICELSIUS = range(-40_000, 150_001)  # a zone that is switched off says -274000 or 0xffff...


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """One zone: ``cpu-thermal``, ``x86_pkg_temp``, ``GPU-therm``."""

    name: str
    celsius: float


def read_zones(root: Path = Path("/")) -> tuple[ThermalZone, ...]:
    """All zones that give a believable temperature."""
    zones = []
    for folder in find(root, "sys/class/thermal/thermal_zone*"):
        reading = read_int(root, f"{folder}/temp")
        if reading is not None and reading in _PLAUSIBLE_MILLICELSIUS:
            name = read_text(root, f"{folder}/type") or folder.rpartition("/")[2]
            zones.append(ThermalZone(name, reading / 1000))
    return tuple(zones)


def unavailable_reason(root: Path = Path("/")) -> str:
    """Why no temperature can be read, "" when one can."""
    if read_zones(root):
        return ""
    if not any(find(root, "sys/class/thermal/thermal_zone*")):
        return "no thermal zone in /sys/class/thermal"
    return "no thermal zone gives a temperature between -40 and 150 C"
