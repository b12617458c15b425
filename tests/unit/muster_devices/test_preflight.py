import pytest

from muster_devices.preflight import check

_QUIET = {
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "proc/loadavg": "0.00 0.00 0.00 1/100 1\n",
    "proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n",
}
_POLICY = "sys/devices/system/cpu/cpufreq/policy0"


def test_a_quiet_device_has_nothing_to_say(plant):
    preflight = check(plant(_QUIET))
    assert preflight.is_quiet
    assert preflight.available_bytes == 500000 * 1024
    assert preflight.is_on_mains is None


@pytest.mark.parametrize(("percent", "is_tagged"), [("5.00", False), ("5.01", True), ("60.00", True)])
def test_cpu_pressure_above_five_percent_is_tagged(plant, percent, is_tagged):
    preflight = check(plant({**_QUIET, "proc/pressure/cpu": f"some avg10={percent} avg60=0 avg300=0 total=1\n"}))
    assert bool(preflight.reasons) is preflight.is_busy is is_tagged


def test_unknown_pressure_is_a_reason_and_not_silence(plant):
    root = plant({"proc/meminfo": "MemTotal: 1 kB\n"})
    assert check(root).reasons[0].startswith("cpu pressure unknown: no pressure information")


@pytest.mark.parametrize(("millicelsius", "reasons"), [(53_000, 0), (53_100, 1)])
def test_more_than_three_degrees_over_idle_is_tagged(plant, millicelsius, reasons):
    root = plant({**_QUIET, "sys/class/thermal/thermal_zone0/temp": f"{millicelsius}\n"})
    found = check(root, idle_celsius=50.0)
    assert (len(found.reasons), found.is_warm, found.is_busy) == (reasons, bool(reasons), False)
    assert check(root).reasons == ()


def test_a_governor_that_moves_the_frequency_is_tagged(plant):
    root = plant({**_QUIET, f"{_POLICY}/scaling_cur_freq": "600000\n", f"{_POLICY}/scaling_governor": "ondemand\n"})
    assert check(root).reasons == ("cpu governor ondemand changes the frequency during a run",)


def test_a_capped_frequency_is_tagged(plant):
    root = plant(
        {
            **_QUIET,
            f"{_POLICY}/scaling_cur_freq": "1000000\n",
            f"{_POLICY}/scaling_max_freq": "1000000\n",
            f"{_POLICY}/cpuinfo_max_freq": "1500000\n",
            f"{_POLICY}/scaling_governor": "performance\n",
        }
    )
    assert check(root).reasons == ("cpu frequency limited to 1000 of 1500 MHz",)


def test_a_throttled_pi_is_tagged(plant):
    root = plant({**_QUIET, "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"})
    assert check(root).reasons == ("throttled: under-voltage, throttled",)


def test_on_battery_is_tagged_and_a_low_one_refused(plant):
    battery = "sys/class/power_supply/BAT0"
    files = {**_QUIET, f"{battery}/type": "Battery\n", f"{battery}/status": "Discharging\n"}
    half = check(plant({**files, f"{battery}/capacity": "50\n"}))
    assert (half.reasons, half.refusals) == (("on battery",), ())
    low = check(plant({**files, f"{battery}/capacity": "14\n"}))
    assert low.refusals == ("battery at 14% and discharging, a run needs 15%",)


def test_too_little_memory_is_refused(plant):
    preflight = check(plant(_QUIET), needed_bytes=1 << 30)
    assert preflight.refusals == ("488 MiB of memory free, the run takes at least 1024 MiB",)
    assert not preflight.is_quiet


_EMULATED = {
    **_QUIET,
    "proc/pressure/cpu": "some avg10=40.00 avg60=0.00 avg300=0.00 total=5\n",
    "proc/self/cgroup": "1:cpu:/muster-pi-1-00000000\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
    "sys/fs/cgroup/cpu/muster-pi-1-00000000/cgroup.procs": "1",
}


def _stat(busy, idle, cores=2):
    return f"cpu {busy} 0 0 {idle} 0 0 0 0 0 0\n" + "".join(f"cpu{n} 0 0 0 0 0 0 0 0 0 0\n" for n in range(cores))


@pytest.mark.parametrize(
    ("busy", "idle", "cores", "reasons"),
    [
        (40, 60, 2, ()),
        (60, 40, 2, ("0.80 cores of the host idle < 1.0",)),
        (5, 45, 1, ()),
        (6, 44, 1, ("0.88 cores of the host idle < 0.9",)),
    ],
)
def test_under_a_quota_of_ours_idle_cores_decide_and_not_the_pressure_it_makes(plant, busy, idle, cores, reasons):
    root = plant({**_EMULATED, "proc/stat": _stat(1000, 1000, cores)})
    preflight = check(root, wait=lambda _: plant({"proc/stat": _stat(1000 + busy, 1000 + idle, cores)}) and None)
    assert preflight.reasons == reasons
    assert preflight.pressure.cpu_percent == 40.0


def test_under_a_quota_unknown_idle_cores_are_a_reason(plant):
    preflight = check(plant(_EMULATED), wait=lambda _: None)
    assert preflight.reasons == ("idle cores of the host unknown: /proc/stat cannot be read",)


def test_a_quota_that_is_not_ours_keeps_the_pressure_rule(plant):
    root = plant({**_EMULATED, "proc/self/cgroup": "1:cpu:/docker\n", "sys/fs/cgroup/cpu/docker/cgroup.procs": ""})
    assert check(root, wait=lambda _: pytest.fail("waited")).reasons == ("cpu pressure 40.0 % > 5 %",)
