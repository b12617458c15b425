"""A host that passes for a smaller device.

With control groups the whole device - the agent and all of its children - shares a CPU quota whose short period slows
the median query and not only the slowest ones: a quota per 100 ms leaves p50 at full speed. Without them the device
declares a slowdown, which the children apply around each inference. Either way every record and view says so.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from pathlib import Path

from muster_devices.control_group import PREFIX, ControlGroup, Limits, NoControlGroupError, make_group, sweep
from muster_devices.data_limit import DataLimit
from muster_devices.profiles import EmulationLimits, Profile
from muster_protos.errors import InvalidInputError
from muster_protos.ids import check_id
from muster_protos.model import Emulation, Isolation

PERIOD_US = 5_000
CROWDED_PERIOD_US = 10_000  # many groups with short periods cost the host too many timer interrupts
CROWDED_FROM = 8
LEAST_QUOTA_US = 1_000  # the kernel refuses less: a very small quota needs a longer period
_MIB = 1 << 20

_log = logging.getLogger(__name__)


class Emulator:
    """Limits for one emulated device. Made by ``start_emulation``; ``close`` lifts them."""

    def __init__(
        self,
        profile: str,
        limits: EmulationLimits,
        how: tuple[str, ...],
        groups: tuple[ControlGroup, ...],
        has_quota: bool,
        data_limit: DataLimit | None,
    ) -> None:
        self._profile = profile
        self._limits = limits
        self._how = how
        self._groups = groups
        self._has_quota = has_quota
        self._data_limit = data_limit

    @property
    def slowdown_ratio(self) -> float:
        """What children must stretch each inference by; 1.0 when a CPU quota does it."""
        return 1.0 if self._has_quota else max(1.0, 1.0 / self._limits.cpu_quota_cores)

    @property
    def memory_limit_bytes(self) -> int | None:
        """The memory of the emulated device."""
        return self._limits.memory_limit_bytes

    @property
    def isolation(self) -> Isolation:
        """What bounds the children's memory: a control group, or resource limits of each."""
        return Isolation.CGROUP if any(group.limits_memory for group in self._groups) else Isolation.RLIMIT

    def enter(self, pid: int) -> None:
        """Put a process and its future children under the limits.

        Raises:
            NotFoundError: there is no such process.
            PermanentError: the kernel refuses.
        """
        for group in self._groups:
            group.enter(pid)
        if self._data_limit is not None:
            self._data_limit.enter(pid)

    def leave(self, pid: int) -> None:
        """Take a process out of the control groups again: a load comes from outside of the device it is put on."""
        for group in self._groups:
            group.leave(pid)

    def describe(self) -> Emulation:
        """What every record and view of this device shows."""
        return Emulation(self._profile, self._how)

    def close(self) -> None:
        """Move whoever is left back and remove the groups; safe to call twice."""
        for group in self._groups:
            group.close()
        if self._data_limit is not None:
            self._data_limit.close()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_emulation(
    profile: Profile, device_id: str, scope: str = "", *, root: Path = Path("/"), use_cgroups: bool = True
) -> Emulator:
    """Prepare the limits of ``profile`` for a device.

    Args:
        profile: a class that can be emulated.
        device_id: names the control group, with ``scope``.
        scope: tells apart equal ids of different fleets on one host, e.g. the path of the state folder. An agent that
            was killed and starts again with the same id and scope takes its old group over.
        root: the tree with proc and sys.
        use_cgroups: False declares a slowdown even where a quota would be possible.

    Raises:
        InvalidInputError: the class cannot be emulated, or the id is none.
    """
    if profile.emulation is None:
        raise InvalidInputError(f"expected a profile that can be emulated, found {profile.name!r}")
    name = group_name(device_id, scope)
    limits = profile.emulation
    cpu_how, groups = _quota(root, name, limits) if use_cgroups else ("", ())
    how = [cpu_how or f"declared slowdown {1.0 / limits.cpu_quota_cores:.1f}x around each inference"]
    has_quota, data_limit = bool(cpu_how), None
    if limits.memory_limit_bytes is not None:
        size = f"memory limit {limits.memory_limit_bytes // _MIB} MiB"
        memory = _memory(root, name, limits.memory_limit_bytes, groups) if use_cgroups else None
        if memory is None:
            data_limit = DataLimit(limits.memory_limit_bytes)
            how.append(f"{size} of writable memory per process by RLIMIT_DATA")
        else:
            groups = groups if memory in groups else (*groups, memory)
            how.append(f"{size} by cgroup v{memory.version}")
    return Emulator(profile.name, limits, tuple(how), groups, has_quota, data_limit)


def group_name(device_id: str, scope: str) -> str:
    """``muster-<device id>-<8 hex digits of the scope>``."""
    return f"{PREFIX}{check_id(device_id, 'device id')}-{hashlib.sha256(scope.encode()).hexdigest()[:8]}"


def _quota(root: Path, name: str, limits: EmulationLimits) -> tuple[str, tuple[ControlGroup, ...]]:
    """The CPU group and what it does in words; ("", ()) with a log line where none can be had."""
    period_us = max(PERIOD_US, math.ceil(LEAST_QUOTA_US / limits.cpu_quota_cores))
    try:
        group = make_group(root, ("cpu",), name, Limits(limits.cpu_quota_cores, period_us))
        sweep(group.path.parent, time.time())
        if len(list(group.path.parent.glob(f"{PREFIX}*"))) >= CROWDED_FROM:
            period_us = max(CROWDED_PERIOD_US, period_us)
            group = make_group(root, ("cpu",), name, Limits(limits.cpu_quota_cores, period_us))
    except NoControlGroupError as error:
        _log.info("no CPU quota for %s, its slowdown is declared: %s", name, error)
        return "", ()
    share = f"{limits.cpu_quota_cores:.0%}".replace("%", " %")
    return f"cpu quota {share} of one core by cgroup v{group.version}, period {period_us // 1000} ms", (group,)


def _memory(root: Path, name: str, memory_bytes: int, groups: tuple[ControlGroup, ...]) -> ControlGroup | None:
    """The group that limits memory: on cgroup v2 the very one with the quota, since a process is only in one."""
    if groups and groups[0].version == 2:
        return groups[0] if groups[0].limit_memory(memory_bytes) else None
    try:
        return make_group(root, ("memory",), name, Limits(memory_bytes=memory_bytes))
    except NoControlGroupError as error:
        _log.info("no memory control group for %s, each process gets a limit of its own: %s", name, error)
        return None
