"""One control group of our own: made, limited, filled with processes, emptied and removed.

We make groups inside the group that we are in, so that no limit over us is escaped. On cgroup v2 a group that holds
processes cannot limit its children ("no internal processes"); then we look upwards, but never past a group that has a
limit of its own. Source: https://docs.kernel.org/admin-guide/cgroup-v2.html#no-internal-process-constraint.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from muster_devices.cgroups import Group, group_cpu_cores, group_memory_bytes, own_group
from muster_devices.tree import read_text
from muster_protos.errors import ConflictError, NotFoundError, PermanentError

PREFIX = "muster-"
_STALE_AFTER_S = 600.0
_REMOVE_ATTEMPTS = 20
_REMOVE_PAUSE_S = 0.05

_log = logging.getLogger(__name__)


class NoControlGroupError(PermanentError):
    """This process may not make a group with the controller that is needed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group grants to all of its processes together."""

    cpu_cores: float | None = None
    period_us: int = 5000
    memory_bytes: int | None = None


class ControlGroup:
    """A group that exists until ``close``. One that a killed agent left behind under the same name is taken over."""

    def __init__(self, version: int, path: Path, home: Path, limits: Limits) -> None:
        self.version = version  # of its hierarchy, 1 or 2
        self.path = path
        self._home = home  # where processes go back to
        self._limits = limits

    def apply(self) -> None:
        """Make the folder and write the limits.

        Raises:
            OSError: the kernel, or a file's mode, does not allow it.
        """
        self.path.mkdir(exist_ok=True)
        limits = self._limits
        if limits.cpu_cores is not None:
            quota_us = round(limits.cpu_cores * limits.period_us)
            if self.version == 1:
                _write(self.path / "cpu.cfs_quota_us", -1)  # a left-over quota may not fit the new period
                _write(self.path / "cpu.cfs_period_us", limits.period_us)
                _write(self.path / "cpu.cfs_quota_us", quota_us)
            else:
                _write(self.path / "cpu.max", f"{quota_us} {limits.period_us}")
        if limits.memory_bytes is not None:
            _write(self.path / ("memory.limit_in_bytes" if self.version == 1 else "memory.max"), limits.memory_bytes)

    def limit_memory(self, memory_bytes: int) -> bool:
        """Limit the memory of a group on cgroup v2 as well; False where its parent may not hand that out."""
        try:
            _delegate(self.path.parent, ("memory",))
            _write(self.path / "memory.max", memory_bytes)
        except OSError:
            return False
        self._limits = replace(self._limits, memory_bytes=memory_bytes)
        return True

    @property
    def limits_memory(self) -> bool:
        """Whether the memory of its members together is limited."""
        return self._limits.memory_bytes is not None

    def enter(self, pid: int) -> None:
        """Move a process in; the children that it starts afterwards are born here.

        Raises:
            NotFoundError: there is no such process.
            PermanentError: the kernel refuses.
        """
        try:
            if not self.path.is_dir():
                self.apply()
            _write(self.path / "cgroup.procs", pid)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise NotFoundError(f"expected a running process to limit, found none with id {pid}") from error
            raise PermanentError(f"process {pid} cannot enter {self.path}: {error.strerror}") from error

    def leave(self, pid: int) -> None:
        """Send one process back to where the group was made, such as the one that plays the device's users."""
        _send(pid, self._home)

    def members(self) -> tuple[int, ...]:
        """The processes in the group."""
        return tuple(int(line) for line in (read_text(self.path, "cgroup.procs") or "").split())

    def close(self) -> bool:
        """Send the members back where the group was made and remove it; False when the kernel keeps it."""
        for attempt in range(_REMOVE_ATTEMPTS):
            for pid in self.members():
                _send(pid, self._home)
            if remove(self.path):
                return True
            time.sleep(_REMOVE_PAUSE_S * (attempt > 0))
        _log.warning(
            "the control group %s could not be removed; it is taken over or removed at the next start", self.path
        )
        return False


def make_group(root: Path, controllers: Sequence[str], name: str, limits: Limits) -> ControlGroup:
    """A limited group in the hierarchy of ``controllers`` ("cpu", "memory"; one hierarchy has them all).

    Raises:
        NoControlGroupError: no such hierarchy, or not ours to write; the message says which.
        ConflictError: ``name`` is not one of ours.
    """
    if not name.startswith(PREFIX) or "/" in name:
        raise ConflictError(f"expected the name of a control group to start with {PREFIX!r}, found {name!r}")
    own = own_group(root, controllers[0])
    if own is None:
        raise NoControlGroupError(f"no {controllers[0]} controller is mounted")
    reason = "it belongs to a supervisor"
    for parent in _parents(own, controllers):
        group = ControlGroup(own.version, parent / name, own.path, limits)
        existed = group.path.is_dir()
        try:
            if own.version == 2:
                _delegate(parent, controllers)
            group.apply()
        except OSError as error:
            reason = f"{parent}: {error.strerror}"
            if not existed:
                remove(group.path)
            continue
        return group
    raise NoControlGroupError(f"the {' and '.join(controllers)} control group is not ours to divide ({reason})")


def sweep(parent: Path, now_s: float) -> None:
    """Remove empty groups of ours that are older than ten minutes: their agents were killed."""
    for path in sorted(parent.glob(f"{PREFIX}*")):
        try:
            is_old = now_s - path.stat().st_mtime > _STALE_AFTER_S
        except OSError:
            continue
        if is_old and not read_text(path, "cgroup.procs"):
            remove(path)


def remove(path: Path) -> bool:
    """Remove one group; False when it still has members, or is not there to be removed by us."""
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True


def _parents(own: Group, controllers: Sequence[str]) -> Iterator[Path]:
    if own.version == 1:
        # A memory group below the top was made by a supervisor that counts and ends what is in it: leave it alone.
        if "memory" not in controllers or own.path == own.mount:
            yield own.path
        return
    for path in own.upwards():
        yield path
        if group_cpu_cores(2, path) is not None or group_memory_bytes(2, path) is not None:
            return


def _delegate(parent: Path, controllers: Sequence[str]) -> None:
    """Let the children of ``parent`` have ``controllers`` (cgroup v2)."""
    present = (read_text(parent, "cgroup.subtree_control") or "").split()
    for controller in controllers:
        if controller not in present:
            _write(parent / "cgroup.subtree_control", f"+{controller}")


def _send(pid: int, home: Path) -> None:
    try:
        _write(home / "cgroup.procs", pid)
    except OSError as error:
        if error.errno != errno.ESRCH:
            _log.warning("process %d stays in its control group: %s", pid, error.strerror)


def _write(path: Path, value: int | str) -> None:
    """Write one value in one call, as cgroup files want it; never make a file: no plain folder passes for a group."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
