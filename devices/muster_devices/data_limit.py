"""A memory limit for each process on its own, where no control group can hold a device's processes together.

RLIMIT_DATA counts private writable memory. RLIMIT_AS would count every reservation as well: ONNX Runtime with two
threads and a small model has 332 MiB of address space, 136 MiB of it writable, 75 MiB resident (measured on x86-64).
Source: getrlimit(2); it counts anonymous mappings since Linux 4.7.
"""

from __future__ import annotations

import resource

from muster_protos.errors import NotFoundError, PermanentError


class DataLimit:
    """Limits processes by RLIMIT_DATA; the children that they start afterwards inherit it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._before: dict[int, tuple[int, int]] = {}

    def enter(self, pid: int) -> None:
        """Lower the soft limit of a process; one that is lower already stays.

        Raises:
            NotFoundError: there is no such process.
            PermanentError: it belongs to another user.
        """
        try:
            soft, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
            if soft != resource.RLIM_INFINITY and soft <= self._limit_bytes:
                return
            resource.prlimit(pid, resource.RLIMIT_DATA, (self._limit_bytes, hard))
        except ProcessLookupError as error:
            raise NotFoundError(f"expected a running process to limit, found none with id {pid}") from error
        except (OSError, ValueError) as error:
            raise PermanentError(f"the memory of process {pid} cannot be limited: {error}") from error
        self._before.setdefault(pid, (soft, hard))

    def close(self) -> None:
        """Give the processes that entered, and still run, their old limit back; safe to call twice."""
        for pid, limits in self._before.items():
            try:
                resource.prlimit(pid, resource.RLIMIT_DATA, limits)
            except (OSError, ValueError):
                continue  # it has ended, or lowered its own hard limit
        self._before.clear()
