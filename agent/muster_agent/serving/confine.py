"""What a serving child gives up before it opens a stranger's model. No death with the parent: it outlives its agent."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import sys

log = logging.getLogger(__name__)

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_STDERR_LIMIT_BYTES = 4 * 1024 * 1024


def confine(memory_limit_bytes: int | None) -> None:
    """No new privileges, no core dump, no large file, and at most so much writable memory; cannot be undone."""
    if sys.platform.startswith("linux") and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        log.warning("this process may still gain privileges: %s", os.strerror(ctypes.get_errno()))
    _lower(resource.RLIMIT_FSIZE, _STDERR_LIMIT_BYTES)
    _lower(resource.RLIMIT_CORE, 0)
    if memory_limit_bytes is not None:
        _lower(resource.RLIMIT_DATA, memory_limit_bytes)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))
