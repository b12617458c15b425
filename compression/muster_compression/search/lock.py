"""A folder holds one search at a time, from the import to the last variant of the frontier."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from muster_protos.errors import ConflictError, PermanentError


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the folder where it is not there and lock it; a new one that stays empty is gone afterwards.

    The lock is the folder's own (no file is left behind) and ends with the process.

    Raises:
        ConflictError: another process searches in it.
        PermanentError: it cannot be made or opened.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise PermanentError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    try:
        lock(opened, folder)
        yield
    finally:
        os.close(opened)
        if is_new:
            with contextlib.suppress(OSError):  # something is in there: it stays
                folder.rmdir()


def lock(descriptor: int, folder: Path) -> None:
    """Hold ``descriptor``, of ``folder`` or a file in it, until it is closed.

    Raises:
        ConflictError: another search holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConflictError(f"another search works in {folder}: wait for it, or choose another folder") from error
