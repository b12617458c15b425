import pytest

from muster_devices.cgroups import cpu_quota_cores, memory_headroom_bytes, memory_limit_bytes, own_group

_V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
_V1_MOUNTS = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)


def _v2(files):
    return {
        "proc/self/cgroup": "0::/app.slice/agent\n",
        "proc/self/mountinfo": _V2_MOUNT,
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
        "sys/fs/cgroup/app.slice/agent/cgroup.procs": "1\n",
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }


def test_v2_quota_and_limit_of_the_own_group(plant):
    root = plant(_v2({"app.slice/agent/cpu.max": "1250 5000\n", "app.slice/agent/memory.max": "268435456\n"}))
    assert cpu_quota_cores(root) == pytest.approx(0.25)
    assert memory_limit_bytes(root) == 256 << 20


def test_a_tighter_limit_further_up_wins(plant):
    root = plant(
        _v2(
            {
                "app.slice/agent/cpu.max": "max 100000\n",
                "app.slice/cpu.max": "50000 100000\n",
                "app.slice/agent/memory.max": "max\n",
                "app.slice/memory.max": "1000\n",
            }
        )
    )
    assert cpu_quota_cores(root) == pytest.approx(0.5)
    assert memory_limit_bytes(root) == 1000


def test_v1_controllers_are_looked_up_in_their_own_hierarchies(plant):
    root = plant(
        {
            "proc/self/cgroup": "4:memory:/box\n1:cpu,cpuacct:/\n0::/\n",
            "proc/self/mountinfo": _V1_MOUNTS,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "1073741824\n",
        }
    )
    assert cpu_quota_cores(root) == pytest.approx(1.5)
    assert memory_limit_bytes(root) == 1 << 30
    group = own_group(root, "memory")
    assert group is not None
    assert (group.version, group.path) == (1, root / "sys/fs/cgroup/memory/box")


def test_v1_unlimited_is_none(plant):
    root = plant(
        {
            "proc/self/cgroup": "4:memory:/\n1:cpu,cpuacct:/\n",
            "proc/self/mountinfo": _V1_MOUNTS,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        }
    )
    assert cpu_quota_cores(root) is None
    assert memory_limit_bytes(root) is None
    assert memory_headroom_bytes(root) is None


def test_a_container_that_sees_only_its_own_group(plant):
    root = plant(
        {
            "proc/self/cgroup": "1:cpu,cpuacct:/docker/abc\n",
            "proc/self/mountinfo": _V1_MOUNTS.replace("0:29 / ", "0:29 /docker/abc "),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        }
    )
    assert cpu_quota_cores(root) == pytest.approx(2.0)


def test_headroom_counts_page_cache_that_can_be_dropped(plant):
    root = plant(
        _v2(
            {
                "app.slice/agent/memory.max": "1000\n",
                "app.slice/agent/memory.current": "900\n",
                "app.slice/agent/memory.stat": "anon 500\ninactive_file 300\n",
            }
        )
    )
    assert memory_headroom_bytes(root) == 400


def test_no_control_groups_at_all(plant):
    root = plant({"proc/self/status": "Name:\tx\n"})
    assert own_group(root, "cpu") is None
    assert cpu_quota_cores(root) is None
    assert memory_limit_bytes(root) is None
