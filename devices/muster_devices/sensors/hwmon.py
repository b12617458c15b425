"""Power meters of any hwmon driver. Source: https://docs.kernel.org/hwmon/sysfs-interface.html (microwatts)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import find, read_int, read_text


@dataclass(frozen=True, slots=True)
class PowerMeter:
    """One power channel."""

    name: str
    power_mw: float


def read_meters(root: Path = Path("/")) -> tuple[PowerMeter, ...]:
    """Every ``power*_input``, or ``power*_average`` where a driver only averages."""
    meters = []
    for folder in find(root, "sys/class/hwmon/hwmon*"):
        driver = read_text(root, f"{folder}/name") or folder.rpartition("/")[2]
        channels = {path.rpartition("/")[2].partition("_")[0] for path in find(root, f"{folder}/power*_*")}
        for channel in sorted(channels):
            microwatts = read_int(root, f"{folder}/{channel}_input")
            if microwatts is None:
                microwatts = read_int(root, f"{folder}/{channel}_average")
            if microwatts is not None:
                label = read_text(root, f"{folder}/{channel}_label") or channel
                meters.append(PowerMeter(f"{driver} {label}", microwatts / 1000))
    return tuple(meters)
