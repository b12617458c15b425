"""Whom the kernel killed for want of memory: named only when the kernel says so, "perhaps" when it may be anybody."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from muster_devices import oom
from muster_devices.oom import Oom, OomWatch, oom_kills

PID = 4242


class Machine:
    """A tree as the kernel shows it: the child in a group of its own, or beside others."""

    def __init__(self, root: Path, version: int) -> None:
        self.root = root
        self._version = version
        point = "sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory"
        self._group = root / point / "child"
        self._group.mkdir(parents=True)
        kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
        self.write("proc/self/mountinfo", f"1 2 0:3 / /{point} rw - {kind}\n")
        self.write(f"{point}/cgroup.controllers", "cpu memory\n")
        self.write("proc/self/cgroup", "0::/\n" if version == 2 else "4:memory:/\n")
        self.write(f"proc/{PID}/cgroup", "0::/child\n" if version == 2 else "4:memory:/child\n")
        self.members(PID)
        self.kills(of_group=2, of_machine=7)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def members(self, *pids: int) -> None:
        (self._group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def kills(self, of_group: int, of_machine: int) -> None:
        events = "memory.events" if self._version == 2 else "memory.oom_control"
        (self._group / events).write_text(f"low 0\noom 9\noom_kill {of_group}\n")
        self.write("proc/vmstat", f"nr_free_pages 12\noom_kill {of_machine}\n")


@pytest.fixture(params=[1, 2], ids=["cgroup v1", "cgroup v2"])
def machine(request, tmp_path):
    return Machine(tmp_path, request.param)


def test_a_child_alone_in_its_group_is_judged_by_the_groups_count(machine):
    watch = OomWatch(PID, machine.root)
    machine.members()
    machine.kills(of_group=2, of_machine=8)  # somebody else's
    assert watch.verdict() is Oom.NO
    machine.kills(of_group=3, of_machine=9)
    assert watch.verdict() is Oom.YES


def test_a_child_beside_others_is_perhaps_the_one(machine):
    machine.members(PID, 1)
    watch = OomWatch(PID, machine.root)
    assert watch.verdict() is Oom.NO
    machine.kills(of_group=3, of_machine=8)
    assert watch.verdict() is Oom.PERHAPS


def test_where_another_joined_its_group_later_it_is_perhaps_the_one(machine):
    watch = OomWatch(PID, machine.root)
    machine.members(77)
    machine.kills(of_group=3, of_machine=8)
    assert watch.verdict() is Oom.PERHAPS


def test_a_kernel_that_says_nothing_is_no_sign(tmp_path):
    assert oom_kills(tmp_path / "nowhere") is None
    assert OomWatch(PID, tmp_path / "nowhere").verdict() is Oom.NO


@pytest.fixture
def log():
    """The kernel's log: (its end to read from, a function that adds a record of that many seconds ago)."""
    reading, writing = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)  # one read gives one record, as there

    def say(text: str, seconds_ago: float) -> None:
        at_us = time.monotonic_ns() // 1000 - int(seconds_ago * 1e6)
        os.write(writing, f"3,1,{at_us},-;{text}\n".encode())

    yield reading, say
    os.close(reading)
    os.close(writing)


def test_the_kernels_log_names_the_process(log):
    reading, say = log
    since_us = time.monotonic_ns() // 1000 - 60 * 10**6
    say(f"Out of memory: Killed process {PID} (an earlier one of this number)", 1000)
    say("Memory cgroup out of memory: Killed process 42421 (python) total-vm:1kB", 30)
    assert oom._find(reading, PID, since_us) is False
    say("eth0: link up", 900)
    say(f"Memory cgroup out of memory: Killed process {PID} (python) total-vm:1kB", 20)
    assert oom._find(reading, PID, since_us) is True


def test_a_log_that_has_lost_its_beginning_says_nothing(log):
    reading, say = log
    say("eth0: link up", 1)
    assert oom._find(reading, PID, time.monotonic_ns() // 1000 - 60 * 10**6) is None
