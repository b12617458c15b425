"""How hot and how fast the device is just now, and whether something holds it back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_devices.sensors import cpufreq, jetson, raspberry_pi, thermal_zone
from muster_protos.model import Thermal


@dataclass(frozen=True, slots=True)
class ThermalReading:
    """One look; None with a reason for what the device does not tell."""

    max_celsius: float | None = None  # hottest zone
    frequency_hz: int | None = None  # fastest cores, now
    frequency_limit_hz: int | None = None  # what they may reach just now
    hardware_max_hz: int | None = None  # what they could reach
    governor: str = ""
    throttle_flags: tuple[str, ...] = ()
    over_current_events: int | None = None  # since boot; a Jetson throttles at each
    unavailable_reason: str = ""


def read_thermal(root: Path = Path("/")) -> ThermalReading:
    """Read zones, frequency and throttle flags."""
    zones = thermal_zone.read_zones(root)
    frequency = cpufreq.read_frequency(root)
    word = raspberry_pi.read_throttled(root)
    reasons = filter(None, (thermal_zone.unavailable_reason(root), cpufreq.unavailable_reason(root)))
    return ThermalReading(
        max_celsius=max((zone.celsius for zone in zones), default=None),
        frequency_hz=None if frequency is None else frequency.current_hz,
        frequency_limit_hz=None if frequency is None else frequency.limit_hz,
        hardware_max_hz=None if frequency is None else frequency.hardware_max_hz,
        governor="" if frequency is None else frequency.governor,
        throttle_flags=() if word is None else raspberry_pi.throttle_flags(word),
        over_current_events=jetson.over_current_events(root),
        unavailable_reason="; ".join(reasons),
    )


def over_a_run(before: ThermalReading, after: ThermalReading, *between: ThermalReading) -> Thermal:
    """The readings around (and, if taken, during) a run as the record carries them."""
    readings = (before, *between, after)
    flags = {flag: None for reading in readings for flag in reading.throttle_flags}
    if (after.over_current_events or 0) > (before.over_current_events or 0):
        flags["over-current throttling"] = None
    celsius = [reading.max_celsius for reading in readings if reading.max_celsius is not None]
    return Thermal(
        start_celsius=before.max_celsius,
        end_celsius=after.max_celsius,
        max_celsius=max(celsius, default=None),
        throttle_flags=tuple(flags),
        freq_start_hz=before.frequency_hz,
        freq_end_hz=after.frequency_hz,
        unavailable_reason=before.unavailable_reason or after.unavailable_reason,
    )
