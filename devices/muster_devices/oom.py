"""Whether the kernel has killed a child of ours for want of memory.

How a process ended says SIGKILL and no more. Three places know better, the surest first: the kernel's log, which names
the process (for those who may read it, outside of containers); the count of the child's control group, where it has one
to itself; the count of the whole machine, which may mean anybody.
Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events), .../cgroup-v1/memory.html
(memory.oom_control), https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import os
import re
import time
from enum import Enum
from pathlib import Path

from muster_devices.cgroups import Group, own_group
from muster_devices.tree import read_text

_KILLED = re.compile(rb"[Kk]illed process (\d+)\b")
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel
_RECORD_BYTES = 8192
_MAX_RECORDS = 100_000
_SLACK_US = 1_000_000  # between the log's clock and ours


class Oom(Enum):
    """What is known of a killed child."""

    NO = "no"
    PERHAPS = "perhaps"  # the kernel has killed something for want of memory meanwhile
    YES = "yes"


class OomWatch:
    """Made when a child has its place, before it does anything; asked when it was killed."""

    def __init__(self, pid: int, root: Path = Path("/")) -> None:
        self._pid = pid
        self._root = root
        self._began_us = time.monotonic_ns() // 1000
        self._group = _group_alone(root, pid)
        self._group_kills = None if self._group is None else group_oom_kills(self._group)
        self._machine_kills = oom_kills(root)

    def verdict(self) -> Oom:
        """Whether it was for want of memory, given that it was killed by SIGKILL."""
        named = _log_names(self._root, self._pid, self._began_us)
        if named is not None:
            return Oom.YES if named else Oom.NO
        if self._group is not None and self._group_kills is not None and not _members(self._group):
            kills = group_oom_kills(self._group)
            if kills is not None:
                return Oom.YES if kills > self._group_kills else Oom.NO
        before, now = self._machine_kills, oom_kills(self._root)
        return Oom.PERHAPS if before is not None and now is not None and now > before else Oom.NO


def oom_kills(root: Path = Path("/")) -> int | None:
    """How many processes the kernel has killed for want of memory since boot, in control groups too; None where it
    does not say (Linux before 4.13)."""
    return _count(read_text(root, "proc/vmstat"))


def group_oom_kills(group: Group) -> int | None:
    """The same of one control group; None where it does not say."""
    return _count(read_text(group.path, "memory.events" if group.version == 2 else "memory.oom_control"))


def _count(text: str | None) -> int | None:
    found = (line.split() for line in (text or "").splitlines() if line.startswith("oom_kill "))
    return next((int(words[1]) for words in found if len(words) == 2 and words[1].isdecimal()), None)


def _group_alone(root: Path, pid: int) -> Group | None:
    """The memory group of a process that has one to itself."""
    group = own_group(root, "memory", str(pid))
    return group if group is not None and _members(group) == [str(pid)] else None


def _members(group: Group) -> list[str]:
    return (read_text(group.path, "cgroup.procs") or "").split()


def _log_names(root: Path, pid: int, began_us: int) -> bool | None:
    """Whether the kernel's log says that it killed this process since; None when we may not read it, it is somebody
    else's (a container's numbers are not the kernel's), or it has lost its beginning."""
    try:
        if str((root / "proc/self/ns/pid").readlink()) != _INITIAL_PID_NAMESPACE:
            return None
        log = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _find(log, pid, began_us - _SLACK_US)
    finally:
        os.close(log)


def _find(log: int, pid: int, since_us: int) -> bool | None:
    is_whole = False  # a record from before the child's time is still there, so none of its time is missing
    for _ in range(_MAX_RECORDS):
        try:
            record = os.read(log, _RECORD_BYTES)
        except BrokenPipeError:  # what we were to read next was overwritten
            continue
        except OSError:  # the end
            break
        head, _, text = record.partition(b";")
        fields = head.split(b",")
        if len(fields) < 3 or not fields[2].isdigit():
            break
        if int(fields[2]) < since_us:
            is_whole = True
        elif any(int(found) == pid for found in _KILLED.findall(text)):
            return True
    return False if is_whole else None
