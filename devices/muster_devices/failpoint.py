"""Named points at every durable step, where a test can slow a process down, see where it was, or have it die there.

Without ``MUSTER_FAILPOINT_LOG`` a hit costs one comparison. With it, every hit appends its name to that file (one
write, so that a SIGKILL right after still leaves the line) and sleeps for ``MUSTER_FAILPOINT_MS`` milliseconds. When
``MUSTER_FAILPOINT_KILL`` names a file that says ``<point> <count>``, the first process whose count of that point
reaches ``count`` takes the file away, logs ``killed <point>`` and ends itself by SIGKILL: one kill for one file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter


class _Points:
    """This process's settings and counts."""

    def __init__(self) -> None:
        self.log = os.environ.get("MUSTER_FAILPOINT_LOG", "")
        self.armed = os.environ.get("MUSTER_FAILPOINT_KILL", "")
        self.pause_s = float(os.environ.get("MUSTER_FAILPOINT_MS", "0") or 0) / 1000
        self.counts: Counter[str] = Counter()


_points = _Points()


def hit(name: str) -> None:
    """Say that this process is at the named point."""
    if not _points.log:
        return
    _append(name)
    if _points.armed:
        _die_if_armed(name)
    if _points.pause_s:
        time.sleep(_points.pause_s)


def reread() -> None:
    """Take the settings from the environment anew, in a process that was forked."""
    global _points
    _points = _Points()


def _append(line: str) -> None:
    descriptor = os.open(_points.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _die_if_armed(name: str) -> None:
    with contextlib.suppress(OSError, ValueError), open(_points.armed, encoding="utf-8") as file:  # noqa: PTH123 (lean)
        point, _, count = file.read().strip().rpartition(" ")
        if point != name:
            return
        _points.counts[name] += 1
        if _points.counts[name] < int(count):
            return
        os.rename(_points.armed, f"{_points.armed}.fired")  # noqa: PTH104 (whoever is first, and only that one)
        _append(f"killed {name}")
        os.kill(os.getpid(), signal.SIGKILL)
