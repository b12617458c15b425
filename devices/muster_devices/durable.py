"""Files and folders that outlast a power cut: content is synced before its name, a name before anybody relies on it.

A file system may keep a name and lose the bytes, or keep the bytes and lose the name, until both have been synced;
``tests/faults/power`` builds every disk that this allows.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from muster_devices.failpoint import hit


def make_folder(path: Path, mode: int = 0o777) -> None:
    """``path`` with its parents, each name of them safe: an earlier life may have made one and not synced it.

    Raises:
        OSError: it cannot be made.
    """
    made = path
    while not made.parent.exists():
        made = made.parent
    path.mkdir(mode, parents=True, exist_ok=True)
    folder = path
    while folder != made:
        folder = folder.parent
        sync(folder)
    with suppress(PermissionError):  # it lets us in, but not look around: then nothing can sync our name in it
        sync(made.parent)


def replace_file(path: Path, content: bytes) -> None:
    """``content`` under the name ``path``, 0600, whole or not at all; it lasts when this returns.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")  # ``tempfile`` would load a megabyte of its own
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hit("file: synced")
        temporary.replace(path)
        hit("file: named")
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def remove_leftovers(folder: Path, name: str) -> None:
    """What ``replace_file`` left of ``name`` when it was killed; only for the one process that writes it."""
    for leftover in folder.glob(f".{name}.*"):
        leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """fsync a file or a folder.

    Raises:
        OSError: it cannot be opened, or the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
