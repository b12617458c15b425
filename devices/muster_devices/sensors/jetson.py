"""NVIDIA Jetson: INA3221 power monitors and over-current throttling.

Source: NVIDIA Jetson Linux Developer Guide, "Power and Performance", sections on INA3221 and on soctherm over-current
events; kernel: https://docs.kernel.org/hwmon/ina3221.html (mV and mA).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import find, read_int, read_text

_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")  # the whole module, by board generation


@dataclass(frozen=True, slots=True)
class Rail:
    """One monitored supply."""

    name: str
    power_mw: float


def read_rails(root: Path = Path("/")) -> tuple[Rail, ...]:
    """Every rail of every INA3221, whole-module rails first."""
    rails = [*_hwmon_rails(root), *_iio_rails(root)]
    return tuple(sorted(rails, key=lambda rail: rail.name not in _INPUT_RAILS))


def over_current_events(root: Path = Path("/")) -> int | None:
    """How often over-current protection has throttled since boot, or None on another board."""
    counts = [read_int(root, path) for path in find(root, "sys/class/hwmon/hwmon*/oc*_event_cnt")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _hwmon_rails(root: Path) -> list[Rail]:
    rails = []
    for folder in find(root, "sys/class/hwmon/hwmon*"):
        if read_text(root, f"{folder}/name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            millivolts = read_int(root, f"{folder}/in{channel}_input")
            milliamperes = read_int(root, f"{folder}/curr{channel}_input")
            if millivolts is not None and milliamperes is not None:
                name = read_text(root, f"{folder}/in{channel}_label") or f"channel {channel}"
                rails.append(Rail(name, millivolts * milliamperes / 1000))
    return rails


def _iio_rails(root: Path) -> list[Rail]:
    """JetPack 4: the driver ina3221x gives milliwatts itself."""
    rails = []
    for path in find(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input"):
        power_mw = read_int(root, path)
        folder, _, file = path.rpartition("/")
        channel = file[len("in_power") : -len("_input")]
        if power_mw is not None:
            name = read_text(root, f"{folder}/rail_name_{channel}") or f"channel {channel}"
            rails.append(Rail(name, float(power_mw)))
    return rails
