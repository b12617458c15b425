"""Control groups of this very kernel: the quota bites, on the median too, and nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muster_devices.cgroups import own_group
from muster_devices.emulation import group_name, start_emulation
from muster_devices.profiles import load_profile
from muster_protos.errors import NotFoundError

# Measures on its own before it reads a line, and under the quota after it.
_BUSY = """
import json, sys, time

def block(rounds):
    total = 0
    for number in range(rounds):
        total += number
    return total

def times_ms(rounds, count):
    out = []
    for _ in range(count):
        start = time.perf_counter()
        block(rounds)
        out.append((time.perf_counter() - start) * 1e3)
    return sorted(out)

rounds = 10_000
while times_ms(rounds, 5)[0] < 5:
    rounds = int(rounds * 1.3)
free = times_ms(rounds, 50)
print("ready", flush=True)
sys.stdin.readline()
wall, cpu = time.perf_counter(), time.process_time()
held = times_ms(rounds, 60)
share = (time.process_time() - cpu) / (time.perf_counter() - wall)
print(json.dumps({"free_min_ms": free[0], "held_p50_ms": held[30], "share": share}), flush=True)
"""


def _measure_under(emulator) -> dict[str, float]:
    child = subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        emulator.enter(child.pid)
        out, _ = child.communicate("go\n", timeout=120)
    return json.loads(out)


def _group_path(tmp_path: Path) -> Path:
    own = own_group(Path("/"), "cpu")
    assert own is not None
    return own.path / group_name("test-device", str(tmp_path))


@pytest.mark.parametrize("profile", ["pi", "phone"])
def test_quota_bounds_the_cpu_share_and_slows_the_median(emulate, profile):
    quota = load_profile(profile).emulation.cpu_quota_cores
    found = _measure_under(emulate(profile))
    assert found["share"] <= quota * 1.15
    assert found["held_p50_ms"] >= 0.6 * found["free_min_ms"] / quota


def test_the_jetson_keeps_its_core(emulate):
    """A whole core for one thread: the quota may not slow it, however busy the host is."""
    emulator = emulate("jetson")
    assert emulator.slowdown_ratio == 1.0
    assert emulator.describe().how[0].startswith("cpu quota 100 % of one core by cgroup v")


def test_children_are_born_under_the_limits(emulate, tmp_path):
    emulator = emulate("pi")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; sys.stdin.readline(); subprocess.run(['cat', '/proc/self/cgroup'])",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    emulator.enter(parent.pid)
    out, _ = parent.communicate("go\n", timeout=60)
    assert group_name("test-device", str(tmp_path)) in out


def test_closing_sends_members_home_and_removes_the_group(emulate, tmp_path):
    emulator = emulate("pi")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    emulator.enter(child.pid)
    assert _group_path(tmp_path).is_dir()
    emulator.close()
    emulator.close()
    assert not _group_path(tmp_path).exists()
    assert group_name("test-device", str(tmp_path)) not in Path(f"/proc/{child.pid}/cgroup").read_text()
    assert child.poll() is None
    child.communicate(b"\n", timeout=60)


def test_a_killed_agents_group_is_taken_over(emulate, tmp_path):
    emulate("pi")
    agent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time\n"
            "from muster_devices.emulation import start_emulation\n"
            "from muster_devices.profiles import load_profile\n"
            "start_emulation(load_profile('pi'), 'test-device', sys.argv[1]).enter(os.getpid())\n"
            "print('in', flush=True)\n"
            "time.sleep(600)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "in\n"
        agent.send_signal(signal.SIGKILL)
    assert _group_path(tmp_path).is_dir()
    again = start_emulation(load_profile("phone"), "test-device", str(tmp_path))
    assert again.describe().how[0].startswith("cpu quota 50 % of one core by cgroup v")
    again.close()
    assert not _group_path(tmp_path).exists()


def test_a_group_that_was_swept_is_made_again(emulate, tmp_path):
    emulator = emulate("pi")
    _group_path(tmp_path).rmdir()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    emulator.enter(child.pid)
    assert str(child.pid) in (_group_path(tmp_path) / "cgroup.procs").read_text().split()
    child.communicate(b"\n", timeout=60)


def test_a_dead_process_cannot_enter(emulate):
    emulator = emulate("pi")
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(NotFoundError, match=f"found none with id {child.pid}"):
        emulator.enter(child.pid)


def test_facts_under_a_quota_count_what_is_usable(emulate):
    code = (
        "import os, sys; sys.stdin.readline()\n"
        "from muster_devices.facts import device_facts\n"
        "from muster_devices.cgroups import cpu_quota_cores\n"
        "print(device_facts().cores, cpu_quota_cores())"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    emulate("pi").enter(child.pid)
    out, _ = child.communicate("go\n", timeout=60)
    assert out.split() == ["1", "0.25"]
