import pytest

from muster_devices.sensors import cpufreq, hwmon, jetson, power_supply, powercap, raspberry_pi, thermal_zone
from muster_devices.sensors.survey import survey


def test_a_zone_that_is_switched_off_is_not_cold(plant):
    root = plant({"sys/class/thermal/thermal_zone0/temp": "-274000\n", "sys/class/thermal/thermal_zone1/temp": ""})
    assert thermal_zone.read_zones(root) == ()
    assert thermal_zone.unavailable_reason(root) == "no thermal zone gives a temperature between -40 and 150 C"


def test_the_big_cores_give_the_frequency(plant):
    folder = "sys/devices/system/cpu/cpufreq/policy"
    root = plant(
        {
            f"{folder}0/scaling_cur_freq": "1800000",
            f"{folder}0/cpuinfo_max_freq": "1800000",
            f"{folder}4/scaling_cur_freq": "1200000",
            f"{folder}4/cpuinfo_max_freq": "2400000",
            f"{folder}4/scaling_governor": "schedutil",
        }
    )
    frequency = cpufreq.read_frequency(root)
    assert frequency == cpufreq.Frequency(1_200_000_000, None, 2_400_000_000, "schedutil")


@pytest.mark.parametrize(
    ("word", "now", "since_boot"),
    [
        ("0", (), ()),
        ("50005", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("80008", ("soft temperature limit",), ("soft temperature limit",)),
        ("20000", (), ("arm frequency capped",)),
    ],
)
def test_the_pis_throttle_word(plant, word, now, since_boot):
    value = raspberry_pi.read_throttled(plant({"sys/devices/platform/soc/soc:firmware/get_throttled": f"{word}\n"}))
    assert value is not None
    assert raspberry_pi.throttle_flags(value) == now
    assert raspberry_pi.flags_since_boot(value) == since_boot


def test_an_unreadable_throttle_word_is_none(plant):
    assert raspberry_pi.read_throttled(plant({"sys/devices/platform/soc/soc:firmware/get_throttled": "?"})) is None


def test_ina3221_multiplies_volts_and_amperes_and_puts_the_module_first(plant):
    folder = "sys/class/hwmon/hwmon3"
    root = plant(
        {
            f"{folder}/name": "ina3221\n",
            f"{folder}/in1_label": "VDD_CPU_GPU_CV\n",
            f"{folder}/in1_input": "5000\n",
            f"{folder}/curr1_input": "400\n",
            f"{folder}/in2_label": "VDD_IN\n",
            f"{folder}/in2_input": "5000\n",
            f"{folder}/curr2_input": "1000\n",
        }
    )
    assert jetson.read_rails(root) == (jetson.Rail("VDD_IN", 5000.0), jetson.Rail("VDD_CPU_GPU_CV", 2000.0))


def test_old_jetpack_gives_milliwatts(plant):
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    root = plant({f"{folder}/in_power0_input": "2345\n", f"{folder}/rail_name_0": "POM_5V_IN\n"})
    assert jetson.read_rails(root) == (jetson.Rail("POM_5V_IN", 2345.0),)


def test_over_current_events_are_summed(plant):
    root = plant({"sys/class/hwmon/hwmon4/oc1_event_cnt": "2\n", "sys/class/hwmon/hwmon4/oc3_event_cnt": "5\n"})
    assert jetson.over_current_events(root) == 7
    assert jetson.over_current_events(root / "sys") is None


def test_battery_power_from_current_and_voltage_of_either_sign(plant):
    folder = "sys/class/power_supply/battery"
    root = plant(
        {
            f"{folder}/type": "Battery",
            f"{folder}/status": "Discharging",
            f"{folder}/capacity": "80",
            f"{folder}/current_now": "-500000",
            f"{folder}/voltage_now": "4000000",
        }
    )
    assert power_supply.read_battery(root) == power_supply.Battery("battery", 0.8, "Discharging", 2000.0)
    assert power_supply.is_on_mains(root) is False


def test_a_charging_battery_has_no_discharge_power(plant):
    folder = "sys/class/power_supply/BAT0"
    root = plant({f"{folder}/type": "Battery", f"{folder}/status": "Charging", f"{folder}/power_now": "9000000"})
    battery = power_supply.read_battery(root)
    assert battery is not None
    assert battery.discharge_mw is None
    assert power_supply.is_on_mains(root) is True


def test_a_mouse_is_not_the_devices_battery(plant):
    folder = "sys/class/power_supply/hid-mouse"
    root = plant({f"{folder}/type": "Battery", f"{folder}/scope": "Device", f"{folder}/capacity": "3"})
    assert power_supply.read_battery(root) is None
    assert power_supply.is_on_mains(root) is None


def test_unplugged_mains_is_not_on_mains(plant):
    assert (
        power_supply.is_on_mains(
            plant({"sys/class/power_supply/AC/type": "Mains", "sys/class/power_supply/AC/online": "0"})
        )
        is False
    )


def test_rapl_counts_packages_once(plant):
    folder = "sys/class/powercap/intel-rapl:0"
    root = plant(
        {
            f"{folder}/name": "package-0",
            f"{folder}/energy_uj": "5000",
            f"{folder}/max_energy_range_uj": "262143328850",
            f"{folder}:0/energy_uj": "4000",
            f"{folder}:0/max_energy_range_uj": "262143328850",
        }
    )
    assert [counter.name for counter in powercap.read_counters(root)] == ["package-0"]


def test_a_wrapped_counter_still_tells_what_was_spent():
    before, after = powercap.EnergyCounter("p", 990.0, 1000.0), powercap.EnergyCounter("p", 20.0, 1000.0)
    assert powercap.spent_mj(before, after) == pytest.approx(30.0)


def test_hwmon_power_prefers_input_over_average(plant):
    folder = "sys/class/hwmon/hwmon0"
    root = plant(
        {
            f"{folder}/name": "amdgpu",
            f"{folder}/power1_average": "7000000",
            f"{folder}/power1_input": "5000000",
            f"{folder}/power1_label": "PPT",
        }
    )
    assert hwmon.read_meters(root) == (hwmon.PowerMeter("amdgpu PPT", 5000.0),)


def test_every_kind_is_listed_with_a_name_or_a_reason(tmp_path):
    sensors = survey(tmp_path)
    assert [sensor.kind for sensor in sensors] == ["power", "temperature", "battery", "frequency", "throttle"]
    assert all(not sensor.name and sensor.unavailable_reason for sensor in sensors)


def test_a_full_tree_has_no_reasons(plant):
    root = plant(
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": "40000",
            "sys/class/power_supply/battery/type": "Battery",
            "sys/class/power_supply/battery/status": "Discharging",
            "sys/class/power_supply/battery/power_now": "1000000",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1000000",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance",
            "sys/class/hwmon/hwmon4/oc1_event_cnt": "0",
        }
    )
    assert [(s.kind, s.name) for s in survey(root) if not s.unavailable_reason] == [
        ("power", "battery battery"),
        ("temperature", "cpu-thermal"),
        ("battery", "battery"),
        ("frequency", "cpufreq performance"),
        ("throttle", "jetson over-current events"),
    ]
