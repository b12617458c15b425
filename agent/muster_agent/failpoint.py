"""Named points where a test can slow the agent down and see where it was when it was killed.

Without ``MUSTER_FAILPOINT_LOG`` a hit costs one comparison. With it, every hit appends its name to that file (one
write, so a SIGKILL right after still leaves the line) and sleeps for ``MUSTER_FAILPOINT_MS`` milliseconds.
"""

from __future__ import annotations

import os
import time

_LOG = os.environ.get("MUSTER_FAILPOINT_LOG", "")
_PAUSE_S = float(os.environ.get("MUSTER_FAILPOINT_MS", "0") or 0) / 1000


def hit(name: str) -> None:
    """Say that the agent is at the named point."""
    if not _LOG:
        return
    descriptor = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{name}\n".encode())
    finally:
        os.close(descriptor)
    if _PAUSE_S:
        time.sleep(_PAUSE_S)
