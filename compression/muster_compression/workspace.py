"""Children write into a staging folder; only finished work gets its place in the output folder.

Such a folder is locked by the process that made it, as long as it lives. One that nobody holds was left by a process
that was killed: whoever needs a folder beside it removes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from muster_protos.errors import PermanentError

T = TypeVar("T")

_STAGING = ".staging-"
_SEARCH = ".search-"


@contextlib.contextmanager
def staging(out_dir: Path) -> Iterator[Path]:
    """A folder inside ``out_dir`` that is gone afterwards, whatever happens; so is a new ``out_dir`` that stays empty.

    Raises:
        PermanentError: the output folder cannot be made or written.
    """
    is_new = not out_dir.exists()
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        folder, held = _held_folder(out_dir, _STAGING)
    except OSError as error:
        raise PermanentError(f"cannot write to {out_dir}: {error.strerror}; choose another folder") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
        if is_new:
            with contextlib.suppress(OSError):  # something was published: it stays
                out_dir.rmdir()


@contextlib.contextmanager
def search_folder(out_dir: Path) -> Iterator[Path]:
    """A folder for a search's own files inside ``out_dir``, which is there; gone afterwards."""
    folder, held = _held_folder(out_dir, _SEARCH)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def final_folder(folder: Path) -> Path:
    """Where what lies in a staging folder will go; any other folder is its own."""
    return folder.parent if folder.name.startswith(_STAGING) else folder


def _held_folder(out_dir: Path, prefix: str) -> tuple[Path, int]:
    """A new folder and the descriptor that holds it; abandoned ones beside it are removed."""
    _remove_abandoned(out_dir)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out_dir)).resolve()
        with contextlib.suppress(FileNotFoundError):  # another process took it for abandoned before it was held
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.suppress(OSError):  # a disk without locks: there nobody takes it for abandoned either
                fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():
                return folder, held
            os.close(held)


def _remove_abandoned(out_dir: Path) -> None:
    for folder in (path for prefix in (_STAGING, _SEARCH) for path in out_dir.glob(f"{prefix}*")):
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its process lives, or the disk knows no locks
            pass
        finally:
            os.close(held)


def publish(value: T, folder: Path, out_dir: Path) -> T:
    """Move every staged file that ``value`` names into ``out_dir`` and return the value with the final paths."""
    published: T = _published(value, folder, out_dir)
    return published


def _published(value: Any, folder: Path, out_dir: Path) -> Any:
    if isinstance(value, Path):
        return _moved(value, folder, out_dir)
    if isinstance(value, tuple):
        return tuple(_published(item, folder, out_dir) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and _names_a_path(value):
        changes = {
            item.name: _published(getattr(value, item.name), folder, out_dir) for item in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changes)
    return value


def _names_a_path(value: Any) -> bool:
    """Contract dataclasses name none: they pass through untouched."""
    return type(value).__module__.startswith("muster_compression.")


def _moved(path: Path, folder: Path, out_dir: Path) -> Path:
    if not path.is_relative_to(folder):
        return path
    final = out_dir / path.relative_to(folder)
    if path.exists():  # named twice: the first time moved it
        final.parent.mkdir(parents=True, exist_ok=True)
        path.replace(final)
    return final
