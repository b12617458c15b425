"""Start child processes: own session, no inherited descriptors, few variables, limits, death with the parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from muster_bench.limits import ChildLimits

# Everything else stays with the parent: a child that runs a stranger's model has no business with its secrets.
_KEPT_VARIABLES = frozenset(
    (
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "TMPDIR",
        "PREFIX",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "VIRTUAL_ENV",
        "CUDA_VISIBLE_DEVICES",
    )
)
_KEPT_PREFIXES = ("LC_", "COV_CORE_", "COVERAGE_", "MUSTER_FAILPOINT_", "NVIDIA_")


def spawn_child(
    module: str,
    arguments: Sequence[str] = (),
    *,
    limits: ChildLimits,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` behind ``muster_bench.jail``; its working directory is ``/``.

    ``limits.wall_s`` is the caller's to enforce (``kill_child``); the other limits the child puts on itself before it
    imports anything. ``environment`` is added to the kept variables. The child dies with the spawning thread.

    Raises:
        OSError: the process cannot be started.
    """
    own = json.dumps({"parent": os.getpid(), "memory_bytes": limits.memory_bytes, "cpu_s": limits.cpu_s})
    return subprocess.Popen(
        [sys.executable, "-m", "muster_bench.jail", own, module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        env={**child_environment(os.environ), **(environment or {})},
        cwd="/",
        start_new_session=True,
    )


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The variables that a child gets; import paths made absolute, since its working directory is another."""
    kept = {key: value for key, value in own.items() if key in _KEPT_VARIABLES or key.startswith(_KEPT_PREFIXES)}
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in kept["PYTHONPATH"].split(os.pathsep))  # noqa: PTH100 (no resolve: links stay links)
    kept["OPENBLAS_NUM_THREADS"] = "1"  # numpy only moves bytes here; its pool would cost address space per core
    return kept


def kill_child(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the child's whole process group and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
    process.wait()
