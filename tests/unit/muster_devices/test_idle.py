import pytest

from muster_devices.idle import idle_cores, read_cpu_times

_STAT = "cpu {} 0 {} {} {} 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n"


def test_idle_and_waiting_for_disks_count_as_idle(plant):
    root = plant({"proc/stat": _STAT.format(100, 0, 100, 0)})
    found = idle_cores(root, wait=lambda _: plant({"proc/stat": _STAT.format(125, 25, 140, 10)}) and None)
    assert found == pytest.approx(1.0)


def test_a_clock_that_stands_still_tells_nothing(plant):
    assert idle_cores(plant({"proc/stat": _STAT.format(1, 1, 1, 1)}), wait=lambda _: None) is None


def test_no_or_short_stat_is_none(plant, tmp_path):
    assert read_cpu_times(tmp_path) is None
    assert read_cpu_times(plant({"proc/stat": "cpu 1 2 3\n"})) is None


def test_this_machine_has_between_none_and_all_cores_idle():
    times = read_cpu_times()
    assert times is not None
    assert times.cores >= 1
    assert 0 <= times.idle <= times.total
