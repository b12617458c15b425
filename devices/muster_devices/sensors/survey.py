"""Which sensors a device has, and why it lacks the others."""

from __future__ import annotations

from pathlib import Path

from muster_devices.sensors import cpufreq, hwmon, jetson, power_supply, powercap, raspberry_pi, thermal_zone
from muster_protos.model import SensorSupport


def survey(root: Path = Path("/")) -> tuple[SensorSupport, ...]:
    """One entry per sensor of each kind; a kind without any has one entry with the reason."""
    return (*_power(root), *_temperature(root), *_battery(root), *_frequency(root), *_throttle(root))


def _power(root: Path) -> tuple[SensorSupport, ...]:
    names = [f"ina3221 {rail.name}" for rail in jetson.read_rails(root)]
    names += [meter.name for meter in hwmon.read_meters(root)]
    names += [f"rapl {counter.name}" for counter in powercap.read_counters(root)]
    battery = power_supply.read_battery(root)
    if battery is not None and battery.discharge_mw is not None:
        names.append(f"battery {battery.name}")
    if names:
        return tuple(SensorSupport("power", name) for name in names)
    on_charger = "; on charger" if battery is not None and battery.status != "Discharging" else ""
    reason = f"no power sensor: no INA3221, no hwmon power channel, {powercap.unavailable_reason(root)}{on_charger}"
    return (SensorSupport("power", "", reason),)


def _temperature(root: Path) -> tuple[SensorSupport, ...]:
    zones = tuple(SensorSupport("temperature", zone.name) for zone in thermal_zone.read_zones(root))
    return zones or (SensorSupport("temperature", "", thermal_zone.unavailable_reason(root)),)


def _battery(root: Path) -> tuple[SensorSupport, ...]:
    battery = power_supply.read_battery(root)
    if battery is None:
        return (SensorSupport("battery", "", power_supply.battery_unavailable_reason(root)),)
    return (SensorSupport("battery", battery.name),)


def _frequency(root: Path) -> tuple[SensorSupport, ...]:
    frequency = cpufreq.read_frequency(root)
    if frequency is None:
        return (SensorSupport("frequency", "", cpufreq.unavailable_reason(root)),)
    return (SensorSupport("frequency", f"cpufreq {frequency.governor}".rstrip()),)


def _throttle(root: Path) -> tuple[SensorSupport, ...]:
    if raspberry_pi.read_throttled(root) is not None:
        return (SensorSupport("throttle", "raspberry pi get_throttled"),)
    if jetson.over_current_events(root) is not None:
        return (SensorSupport("throttle", "jetson over-current events"),)
    return (
        SensorSupport("throttle", "", "no throttle flags: neither a Raspberry Pi's firmware nor a Jetson's soctherm"),
    )
