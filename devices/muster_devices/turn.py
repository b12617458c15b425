"""Emulated devices of one host take turns: two benchmark runs beside each other measure each other.

One lock file for the whole host, held with flock(2): the kernel lets go of it when its holder dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muster_protos.errors import TemporaryError

_PAUSE_S = 0.05


def turn_path() -> Path:
    """The lock file that all agents of this host share, whoever runs them and whatever their TMPDIR.

    Termux has no /tmp that can be written; there, one user runs everything and TMPDIR is the same for all.
    """
    shared = Path("/tmp")
    folder = shared if os.access(shared, os.W_OK | os.X_OK) else Path(os.environ.get("TMPDIR", "."))
    return folder / "muster-turn.lock"


@contextmanager
def take_turn(stop: threading.Event, timeout_s: float, path: Path | None = None) -> Iterator[None]:
    """Wait for the turn, hold it while the block runs, hand it on.

    Raises:
        InterruptedError: ``stop`` was set while waiting.
        TemporaryError: it took longer than ``timeout_s``.
        OSError: the lock file cannot be opened.
    """
    descriptor = _open(path or turn_path())
    try:
        _wait(descriptor, stop, timeout_s)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file, reading only: flock needs no more, and it may belong to another user.

    Never O_CREAT on a file that exists: fs.protected_regular forbids that in /tmp for another user's file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(3):
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            try:
                return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                continue  # another agent made it just now
    return os.open(path, flags)


def _wait(descriptor: int, stop: threading.Event, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        if stop.is_set():
            raise InterruptedError("stopped while waiting for the turn to benchmark")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                raise
        else:
            return
        if time.monotonic() >= deadline:
            raise TemporaryError(
                f"another device on this host kept benchmarking for {timeout_s:.0f} s; try again later"
            )
        stop.wait(_PAUSE_S)
