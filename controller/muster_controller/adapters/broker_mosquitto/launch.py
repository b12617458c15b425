"""First code of the broker's process: tie its life to the controller's, then become mosquitto.

    python -I -S launch.py PARENT PROGRAM [ARGUMENT ...]

Standard library only and started by path, so that nothing of ours is imported. Not in a ``preexec_fn``, which may
deadlock in a parent that has threads. The kernel sends SIGTERM when the *thread* that spawned this process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Does not return."""
    parent, program = int(arguments[0]), arguments[1]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each device needs a descriptor
    os.execv(program, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
