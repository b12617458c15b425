import logging
import os

import pytest

from muster_devices.control_group import Limits, NoControlGroupError, make_group, sweep
from muster_protos.errors import ConflictError

_NAME = "muster-pi-1-00000000"
_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
_GROUP_FILES = ("cpu.max", "memory.max", "cgroup.procs")


def _v2(own, **files):
    """A unified hierarchy; the group's own files exist already, as the kernel would make them with the folder."""
    return {
        "proc/self/cgroup": f"0::{own}\n",
        "proc/self/mountinfo": _MOUNT,
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "sys/fs/cgroup/cgroup.procs": "",
        f"sys/fs/cgroup{own}/cgroup.procs": "",
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }


def test_v2_writes_quota_and_period_in_one_line(plant):
    files = {f"sys/fs/cgroup/box/{_NAME}/{name}": "" for name in _GROUP_FILES}
    root = plant({**_v2("/box"), **files, "sys/fs/cgroup/box/cgroup.subtree_control": ""})
    group = make_group(root, ("cpu",), _NAME, Limits(cpu_cores=0.25, period_us=5000))
    assert (group.path / "cpu.max").read_text() == "1250 5000"
    assert (root / "sys/fs/cgroup/box/cgroup.subtree_control").read_text() == "+cpu"
    group.enter(os.getpid())
    assert group.members() == (os.getpid(),)


def test_v2_limits_memory_in_the_same_group(plant):
    files = {f"sys/fs/cgroup/box/{_NAME}/{name}": "" for name in _GROUP_FILES}
    root = plant({**_v2("/box"), **files, "sys/fs/cgroup/box/cgroup.subtree_control": "cpu memory"})
    group = make_group(root, ("cpu",), _NAME, Limits(cpu_cores=1.0, period_us=5000))
    assert not group.limits_memory
    assert group.limit_memory(1 << 29)
    assert group.limits_memory
    assert (group.path / "memory.max").read_text() == str(1 << 29)


def test_a_group_that_cannot_divide_leaves_it_to_its_parent(plant):
    """No subtree_control to write in /box: as a group with processes of its own answers EBUSY."""
    files = {f"sys/fs/cgroup/{_NAME}/{name}": "" for name in _GROUP_FILES}
    root = plant({**_v2("/box"), **files, "sys/fs/cgroup/cgroup.subtree_control": "cpu"})
    group = make_group(root, ("cpu",), _NAME, Limits(cpu_cores=0.5))
    assert group.path == root / "sys/fs/cgroup" / _NAME
    assert not (root / "sys/fs/cgroup/box" / _NAME).exists()


def test_a_limit_over_us_is_never_escaped(plant):
    files = {f"sys/fs/cgroup/{_NAME}/{name}": "" for name in _GROUP_FILES}
    limited = {"sys/fs/cgroup/box/memory.max": "1000000\n", "sys/fs/cgroup/cgroup.subtree_control": "cpu"}
    root = plant({**_v2("/box"), **files, **limited})
    with pytest.raises(NoControlGroupError, match="is not ours to divide"):
        make_group(root, ("cpu",), _NAME, Limits(cpu_cores=0.5))


def test_a_supervisors_memory_group_on_v1_is_left_alone(plant):
    root = plant(
        {
            "proc/self/cgroup": "4:memory:/box\n",
            "proc/self/mountinfo": "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "sys/fs/cgroup/memory/box/cgroup.procs": "",
        }
    )
    with pytest.raises(NoControlGroupError, match="belongs to a supervisor"):
        make_group(root, ("memory",), _NAME, Limits(memory_bytes=1 << 20))
    assert [path.name for path in (root / "sys/fs/cgroup/memory/box").iterdir()] == ["cgroup.procs"]


def test_without_the_controller_there_is_a_reason(tmp_path):
    with pytest.raises(NoControlGroupError, match="no cpu controller is mounted"):
        make_group(tmp_path, ("cpu",), _NAME, Limits(cpu_cores=0.5))


@pytest.mark.parametrize("name", ["system.slice", "muster-../x", "muster-a/b"])
def test_only_groups_of_ours_are_made(tmp_path, name):
    with pytest.raises(ConflictError, match="muster-"):
        make_group(tmp_path, ("cpu",), name, Limits())


def test_a_plain_folder_never_passes_for_a_group(plant):
    """Writing must not create the limit files: on a disk they would be written and limit nothing."""
    root = plant({**_v2("/box"), "sys/fs/cgroup/box/cgroup.subtree_control": "cpu"})
    with pytest.raises(NoControlGroupError):
        make_group(root, ("cpu",), _NAME, Limits(cpu_cores=0.5))
    assert not (root / "sys/fs/cgroup/box" / _NAME).exists()


def test_a_group_that_stays_is_said(plant, caplog, monkeypatch):
    monkeypatch.setattr("muster_devices.control_group._REMOVE_PAUSE_S", 0.0)
    files = {f"sys/fs/cgroup/box/{_NAME}/{name}": "" for name in _GROUP_FILES}
    root = plant({**_v2("/box"), **files, "sys/fs/cgroup/box/cgroup.subtree_control": "cpu"})
    group = make_group(root, ("cpu",), _NAME, Limits(cpu_cores=0.5))
    with caplog.at_level(logging.WARNING):
        assert not group.close()
    assert "could not be removed" in caplog.text


def test_sweeping_removes_old_empty_groups_only(tmp_path):
    for name in ("muster-old-1", "muster-new-1", "others"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / "muster-old-1", (0, 0))
    os.utime(tmp_path / "others", (0, 0))
    sweep(tmp_path, now_s=(tmp_path / "muster-new-1").stat().st_mtime + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["muster-new-1", "others"]
