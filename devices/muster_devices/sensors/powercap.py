"""Energy counters of Intel and AMD CPUs (RAPL). Source: https://docs.kernel.org/power/powercap/powercap.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import exists, find, read_int, read_text


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """A counter of one CPU package; it wraps at ``range_mj``."""

    name: str
    energy_mj: float
    range_mj: float


def read_counters(root: Path = Path("/")) -> tuple[EnergyCounter, ...]:
    """One counter per package; sub-zones are part of their package and are not counted twice."""
    counters = []
    for folder in find(root, "sys/class/powercap/*-rapl:*"):
        if folder.rpartition("/")[2].count(":") != 1:
            continue
        energy_uj, range_uj = read_int(root, f"{folder}/energy_uj"), read_int(root, f"{folder}/max_energy_range_uj")
        if energy_uj is not None and range_uj:
            name = read_text(root, f"{folder}/name") or folder.rpartition("/")[2]
            counters.append(EnergyCounter(name, energy_uj / 1000, range_uj / 1000))
    return tuple(counters)


def spent_mj(before: EnergyCounter, after: EnergyCounter) -> float:
    """Energy between two readings that are less than one wrap apart."""
    return (after.energy_mj - before.energy_mj) % before.range_mj


def unavailable_reason(root: Path = Path("/")) -> str:
    """Why no counter can be read, "" when one can."""
    if read_counters(root):
        return ""
    zones = [folder for folder in find(root, "sys/class/powercap/*-rapl:*") if exists(root, f"{folder}/energy_uj")]
    return (
        "the RAPL counters are readable by root only (CVE-2020-8694)"
        if zones
        else "no RAPL zone in /sys/class/powercap"
    )
