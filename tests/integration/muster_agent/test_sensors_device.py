"""The slow loop's readings from a recorded tree."""

from __future__ import annotations

import pytest

from muster_agent.adapters.sensors_device import EmulatedSensors, RootSensors
from muster_agent.cli.run import sensors_of
from muster_agent.core.caps import Readings
from muster_devices.emulation import Emulator
from muster_devices.profiles import EmulationLimits


@pytest.fixture
def tree(tmp_path):
    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    write("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 250000 kB\n")
    write("proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\n")
    write.root = tmp_path
    return write


def test_a_bare_device_has_memory_and_cpu_and_nothing_else(tree):
    sensors = RootSensors(tree.root)
    tree("proc/stat", "cpu  150 0 150 790 110 0 0 0 0 0\n")
    readings = sensors.read()
    assert readings.cpu_ratio == 0.5
    assert (readings.available_bytes, readings.ram_bytes) == (256_000_000, 1_024_000_000)
    assert (readings.temperature_celsius, readings.trip_celsius, readings.battery_ratio) == (None, None, None)
    assert readings.throttle_flags == ()


def test_the_zone_with_the_least_headroom_counts(tree):
    for zone, now, trip in ((0, 60_000, 100_000), (1, 70_000, 75_000)):
        folder = f"sys/class/thermal/thermal_zone{zone}"
        tree(f"{folder}/temp", str(now))
        tree(f"{folder}/type", "cpu")
        tree(f"{folder}/trip_point_0_type", "passive")
        tree(f"{folder}/trip_point_0_temp", str(trip))
        tree(f"{folder}/trip_point_1_type", "critical")
        tree(f"{folder}/trip_point_1_temp", str(now + 1))
    readings = RootSensors(tree.root).read()
    assert (readings.temperature_celsius, readings.trip_celsius) == (70.0, 75.0)


def test_a_frequency_limit_that_falls_is_throttling(tree):
    folder = "sys/devices/system/cpu/cpufreq/policy0"
    for name, khz in (
        ("scaling_cur_freq", 1_500_000),
        ("scaling_max_freq", 1_500_000),
        ("cpuinfo_max_freq", 1_500_000),
    ):
        tree(f"{folder}/{name}", str(khz))
    sensors = RootSensors(tree.root)
    assert sensors.read().throttle_flags == ()
    tree(f"{folder}/scaling_max_freq", "600000")
    assert sensors.read().throttle_flags == ("frequency limited to 600 of 1500 MHz",)


def test_a_battery_that_discharges_is_read(tree):
    folder = "sys/class/power_supply/BAT0"
    for name, text in (("type", "Battery"), ("capacity", "12"), ("status", "Discharging"), ("present", "1")):
        tree(f"{folder}/{name}", text)
    readings = RootSensors(tree.root).read()
    assert (readings.battery_ratio, readings.is_charging) == (0.12, False)


def test_an_emulated_device_has_no_heat_no_battery_and_no_load_of_its_host(tree):
    tree("sys/class/thermal/thermal_zone0/temp", "99000")
    tree("sys/class/thermal/thermal_zone0/type", "cpu")
    tree("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive")
    tree("sys/class/thermal/thermal_zone0/trip_point_0_temp", "95000")
    assert RootSensors(tree.root).read().temperature_celsius == 99.0
    assert EmulatedSensors(is_memory_own=False, root=tree.root).read() == Readings()
    own = EmulatedSensors(is_memory_own=True, root=tree.root).read()
    assert own == Readings(available_bytes=256_000_000, ram_bytes=1_024_000_000)


def test_only_a_real_device_reads_its_own_sensors():
    emulator = Emulator("pi", EmulationLimits(1.0, None), (), (), False, None)
    assert isinstance(sensors_of(emulator), EmulatedSensors)
    assert isinstance(sensors_of(None), RootSensors)
