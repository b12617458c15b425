"""Battery and mains from /sys/class/power_supply. Source: https://docs.kernel.org/power/power_supply_class.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import find, read_int, read_text


@dataclass(frozen=True, slots=True)
class Battery:
    """The device's own battery; those of its mouse and keyboard (scope Device) do not count."""

    name: str
    charge_ratio: float | None
    status: str  # "Charging", "Discharging", "Full", "Not charging", "Unknown"
    discharge_mw: float | None  # None while it does not discharge, or when the driver does not tell


def read_battery(root: Path = Path("/")) -> Battery | None:
    """The first battery that is present, or None without one."""
    for folder in _supplies(root, "Battery"):
        if read_int(root, f"{folder}/present") == 0:
            continue
        percent = read_int(root, f"{folder}/capacity")
        status = read_text(root, f"{folder}/status") or "Unknown"
        power_mw = _power_mw(root, folder) if status == "Discharging" else None
        charge = percent / 100 if percent is not None and 0 <= percent <= 100 else None
        return Battery(folder.rpartition("/")[2], charge, status, power_mw)
    return None


def is_on_mains(root: Path = Path("/")) -> bool | None:
    """Whether a mains or USB supply is connected; None where the kernel knows of no supply at all."""
    states = [read_int(root, f"{folder}/online") for kind in ("Mains", "USB") for folder in _supplies(root, kind)]
    known = [state for state in states if state is not None]
    if known:
        return any(known)
    battery = read_battery(root)
    return None if battery is None else battery.status != "Discharging"


def battery_unavailable_reason(root: Path = Path("/")) -> str:
    """Why no battery can be read, "" when one can."""
    return "" if read_battery(root) else "no battery in /sys/class/power_supply"


def _supplies(root: Path, kind: str) -> list[str]:
    return [
        folder
        for folder in find(root, "sys/class/power_supply/*")
        if read_text(root, f"{folder}/type") == kind and read_text(root, f"{folder}/scope") != "Device"
    ]


def _power_mw(root: Path, folder: str) -> float | None:
    microwatts = read_int(root, f"{folder}/power_now")
    if microwatts is not None:
        return abs(microwatts) / 1000
    microamperes, microvolts = read_int(root, f"{folder}/current_now"), read_int(root, f"{folder}/voltage_now")
    if microamperes is None or microvolts is None:
        return None
    return (
        abs(microamperes) * microvolts / 1e9
    )  # uA x uV = 1e-12 W = 1e-9 mW; drivers differ in the sign of a discharge
