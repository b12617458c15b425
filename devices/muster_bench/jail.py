"""First code of every child: limit this process, then become the module that was asked for.

    python -m muster_bench.jail '{"parent": 42, "memory_bytes": null, "cpu_s": null}' MODULE [ARGUMENT ...]

The limits are set here and not in a ``preexec_fn``, which may deadlock in a parent that has threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_FILE_LIMIT_BYTES = 64 << 20  # nothing here writes files; a runtime that starts to must not fill the disk


def main(arguments: list[str]) -> None:
    """Apply the limits of ``arguments[0]`` and run the module ``arguments[1]`` as ``__main__``."""
    limits: Mapping[str, int | None] = json.loads(arguments[0])
    die_with_parent(limits["parent"])
    _limit(limits.get("memory_bytes"), limits.get("cpu_s"))
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


def die_with_parent(parent: int | None) -> None:
    """Have the kernel kill this process when its parent ends; end at once when it has ended already.

    The kernel means the *thread* that spawned the child: spawn long-lived children from a long-lived thread.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _limit(memory_bytes: int | None, cpu_s: int | None) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, _FILE_LIMIT_BYTES)
    if memory_bytes is not None:
        _lower(resource.RLIMIT_AS, memory_bytes)
    if cpu_s is not None:
        _lower(resource.RLIMIT_CPU, cpu_s)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))


if __name__ == "__main__":
    main(sys.argv[1:])
