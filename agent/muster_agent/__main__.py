"""``muster-agent``: see ``muster_agent.cli``."""

from __future__ import annotations

import os
import sys

# glibc keeps freed memory for itself and a heap per thread: 4 MiB of an agent that has fetched a 12 MB artifact
# (mallopt(3)). It reads these once, at the start of a process.
_FRUGAL = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}


def main() -> None:
    """The command's entry point."""
    if sys.argv[1:2] == ["run"]:
        _be_frugal()
    from muster_agent.cli.main import run_command

    sys.exit(run_command(sys.argv[1:]))


def _be_frugal() -> None:
    """Start this process anew with a frugal allocator; its children get the usual one back."""
    if all(name in os.environ for name in _FRUGAL):
        for name in _FRUGAL:
            del os.environ[name]
    else:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_FRUGAL})


if __name__ == "__main__":
    main()
