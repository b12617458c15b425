"""Which control groups this process is in, and the CPU and memory limits that they set.

Works on cgroup v1, v2 and hybrids: the hierarchy of each controller is looked up on its own.
Source: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/; mountinfo: proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from muster_devices.tree import read_int, read_text

_UNLIMITED_BYTES = 1 << 60  # v1 says "no limit" with 2^63 rounded down to a page


@dataclass(frozen=True, slots=True)
class Group:
    """The group of this process in one hierarchy, as paths below the root that was read."""

    version: int  # 1 or 2
    mount: Path
    path: Path  # ``mount`` itself, or below it

    def upwards(self) -> Iterator[Path]:
        """The group, its parent, and so on to the mount point."""
        here = self.path
        while True:
            yield here
            if here == self.mount or self.mount not in here.parents:
                return
            here = here.parent


@dataclass(frozen=True, slots=True)
class _Mount:
    point: Path
    top: str  # which group of the hierarchy is visible at the mount point
    version: int
    controllers: frozenset[str]


def own_group(root: Path, controller: str, pid: str = "self") -> Group | None:
    """The group of this process, or of another, in the hierarchy that has ``controller`` ("cpu", "memory"), or None
    without one."""
    paths = _own_paths(root, pid)
    for mount in _mounts(root):
        if controller not in mount.controllers:
            continue
        own = paths.get(controller if mount.version == 1 else "")
        if own is None:
            continue
        path = mount.point / _below(own, mount.top)
        return Group(mount.version, mount.point, path if path.is_dir() else mount.point)
    return None


def cpu_quota_cores(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota over this process, in cores (0.25 = a quarter of one), or None without any."""
    group = own_group(root, "cpu")
    if group is None:
        return None
    quotas = [quota for path in group.upwards() if (quota := group_cpu_cores(group.version, path)) is not None]
    return min(quotas, default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The tightest memory limit over this process, or None without any."""
    group = own_group(root, "memory")
    if group is None:
        return None
    limits = [limit for path in group.upwards() if (limit := group_memory_bytes(group.version, path)) is not None]
    return min(limits, default=None)


def memory_headroom_bytes(root: Path = Path("/")) -> int | None:
    """What the groups over this process still grant, page cache that can be dropped included; None without limits."""
    group = own_group(root, "memory")
    if group is None:
        return None
    usage_file = "memory.usage_in_bytes" if group.version == 1 else "memory.current"
    rooms = []
    for path in group.upwards():
        limit, usage = group_memory_bytes(group.version, path), read_int(path, usage_file)
        if limit is not None and usage is not None:
            rooms.append(max(0, limit - usage + _inactive_file_bytes(path)))
    return min(rooms, default=None)


def group_cpu_cores(version: int, path: Path) -> float | None:
    """The CPU quota that one group sets itself, in cores, or None for no quota."""
    if version == 1:
        quota, period = read_int(path, "cpu.cfs_quota_us"), read_int(path, "cpu.cfs_period_us")
    else:
        quota_text, _, period_text = (read_text(path, "cpu.max") or "max 100000").partition(" ")
        quota = int(quota_text) if quota_text.isdecimal() else None
        period = int(period_text) if period_text.isdecimal() else None
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return quota / period


def group_memory_bytes(version: int, path: Path) -> int | None:
    """The memory limit that one group sets itself, or None for no limit."""
    limit = read_int(path, "memory.limit_in_bytes" if version == 1 else "memory.max")
    return None if limit is None or limit >= _UNLIMITED_BYTES else limit


def _inactive_file_bytes(path: Path) -> int:
    found = {}
    for line in (read_text(path, "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if value.isdecimal():
            found[name] = int(value)
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def _own_paths(root: Path, pid: str) -> dict[str, str]:
    """Controller to path of the group; "" stands for the unified hierarchy."""
    paths: dict[str, str] = {}
    for line in (read_text(root, f"proc/{pid}/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in (read_text(root, "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, types = left.split(), right.split()
        if len(fields) < 5 or len(types) < 3 or types[0] not in ("cgroup", "cgroup2"):
            continue
        point = root / fields[4].lstrip("/")
        if types[0] == "cgroup":
            controllers = frozenset(types[2].split(","))
            yield _Mount(point, fields[3], 1, controllers)
        else:
            controllers = frozenset((read_text(point, "cgroup.controllers") or "").split())
            yield _Mount(point, fields[3], 2, controllers)


def _below(path: str, top: str) -> str:
    """``path`` relative to the group ``top`` that is mounted; a group outside of it is not visible: the top itself."""
    if top == "/":
        return path.lstrip("/")
    return path[len(top) :].lstrip("/") if path == top or path.startswith(f"{top}/") else ""
