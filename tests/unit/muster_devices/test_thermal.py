from muster_devices.thermal import ThermalReading, over_a_run, read_thermal

_POLICY = "sys/devices/system/cpu/cpufreq/policy0"


def test_hottest_zone_frequency_and_flags(plant):
    root = plant(
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "61234\n",
            "sys/class/thermal/thermal_zone1/temp": "70000\n",
            f"{_POLICY}/scaling_cur_freq": "1500000\n",
            f"{_POLICY}/scaling_governor": "performance\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "8\n",
        }
    )
    reading = read_thermal(root)
    assert reading.max_celsius == 70.0
    assert reading.frequency_hz == 1_500_000_000
    assert reading.throttle_flags == ("soft temperature limit",)
    assert reading.unavailable_reason == ""


def test_a_virtual_machine_says_why_it_knows_nothing(tmp_path):
    reading = read_thermal(tmp_path)
    assert (reading.max_celsius, reading.frequency_hz) == (None, None)
    assert "no thermal zone" in reading.unavailable_reason
    assert "no cpufreq policy" in reading.unavailable_reason


def test_a_run_collects_what_happened_on_its_way():
    cool, hot = ThermalReading(40.0, 2_000), ThermalReading(80.0, 1_000, throttle_flags=("throttled",))
    thermal = over_a_run(cool, cool, hot)
    assert (thermal.start_celsius, thermal.max_celsius, thermal.end_celsius) == (40.0, 80.0, 40.0)
    assert thermal.throttle_flags == ("throttled",)


def test_new_over_current_events_are_a_throttle_flag():
    before, after = ThermalReading(over_current_events=3), ThermalReading(over_current_events=4)
    assert over_a_run(before, after).throttle_flags == ("over-current throttling",)
    assert over_a_run(before, before).throttle_flags == ()
