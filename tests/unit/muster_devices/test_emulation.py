from dataclasses import replace

import pytest

from muster_devices.emulation import group_name, start_emulation
from muster_devices.profiles import EmulationLimits, load_profile
from muster_protos.errors import InvalidInputError
from muster_protos.model import Emulation, Isolation


@pytest.mark.parametrize(("name", "ratio"), [("pi", 4.0), ("phone", 2.0), ("jetson", 1.0)])
def test_without_control_groups_the_slowdown_is_declared(tmp_path, name, ratio):
    with start_emulation(load_profile(name), "d1", root=tmp_path) as emulator:
        assert emulator.slowdown_ratio == pytest.approx(ratio)
        assert emulator.describe().profile == name
        assert emulator.describe().how[0] == f"declared slowdown {ratio:.1f}x around each inference"
        assert emulator.isolation is Isolation.RLIMIT


def test_without_control_groups_memory_is_limited_per_process(tmp_path):
    emulator = start_emulation(load_profile("pi"), "d1", root=tmp_path)
    assert emulator.memory_limit_bytes == 512 << 20
    assert emulator.describe().how[1] == "memory limit 512 MiB of writable memory per process by RLIMIT_DATA"


def test_control_groups_can_be_declined():
    emulator = start_emulation(load_profile("pi"), "d1", use_cgroups=False)
    assert emulator.slowdown_ratio == pytest.approx(4.0)


def test_v2_puts_quota_and_memory_into_one_group(plant):
    name = group_name("d1", "/state")
    root = plant(
        {
            "proc/self/cgroup": "0::/box\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/box/cgroup.subtree_control": "cpu memory\n",
            f"sys/fs/cgroup/box/{name}/cpu.max": "",
            f"sys/fs/cgroup/box/{name}/memory.max": "",
            f"sys/fs/cgroup/box/{name}/cgroup.procs": "",
        }
    )
    emulator = start_emulation(load_profile("phone"), "d1", "/state", root=root)
    assert emulator.describe() == Emulation(
        "phone", ("cpu quota 50 % of one core by cgroup v2, period 5 ms", "memory limit 1024 MiB by cgroup v2")
    )
    assert (emulator.slowdown_ratio, emulator.isolation) == (1.0, Isolation.CGROUP)
    assert (root / f"sys/fs/cgroup/box/{name}/memory.max").read_text() == str(1 << 30)


def test_many_devices_get_a_longer_period(plant):
    name = group_name("d1", "")
    crowd = {f"sys/fs/cgroup/muster-other-{n}/cgroup.procs": "1" for n in range(8)}
    root = plant(
        {
            **crowd,
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu\n",
            "sys/fs/cgroup/cgroup.subtree_control": "cpu\n",
            f"sys/fs/cgroup/{name}/cpu.max": "",
        }
    )
    emulator = start_emulation(load_profile("pi"), "d1", root=root)
    assert emulator.describe().how[0] == "cpu quota 25 % of one core by cgroup v2, period 10 ms"
    assert (root / f"sys/fs/cgroup/{name}/cpu.max").read_text() == "2500 10000"


def test_a_very_small_quota_gets_a_longer_period_and_not_a_larger_share(plant):
    name = group_name("d1", "")
    root = plant(
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu\n",
            "sys/fs/cgroup/cgroup.subtree_control": "cpu\n",
            f"sys/fs/cgroup/{name}/cpu.max": "",
        }
    )
    tiny = replace(load_profile("pi"), emulation=EmulationLimits(cpu_quota_cores=0.05, memory_limit_bytes=None))
    emulator = start_emulation(tiny, "d1", root=root)
    assert emulator.describe().how == ("cpu quota 5 % of one core by cgroup v2, period 20 ms",)
    assert (root / f"sys/fs/cgroup/{name}/cpu.max").read_text() == "1000 20000"


def test_equal_ids_of_different_fleets_get_different_groups():
    assert group_name("pi-1", "/a") != group_name("pi-1", "/b")
    assert group_name("pi-1", "/a") == group_name("pi-1", "/a")


def test_a_real_class_cannot_be_emulated(tmp_path):
    with pytest.raises(InvalidInputError, match="expected a profile that can be emulated, found 'generic'"):
        start_emulation(load_profile("generic"), "d1", root=tmp_path)


def test_a_bad_id_never_becomes_a_path(tmp_path):
    with pytest.raises(InvalidInputError):
        start_emulation(load_profile("pi"), "../../etc", root=tmp_path)
