"""A disk that refuses, in one line: what, where, and what to do."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def disk_fault(error: OSError, out_dir: Path, cache_dir: Path) -> str:
    """The system names no file where a write fails: then it is the one of the two folders with less room."""
    what = error.strerror or str(error) or type(error).__name__
    if error.errno not in _NO_ROOM:
        return f"{what}: {error.filename}" if error.filename else what
    if _is_in(error.filename, cache_dir) or (not error.filename and _free_bytes(cache_dir) < _free_bytes(out_dir)):
        return f"{what}: {cache_dir} (the cache); free space or name another folder in MUSTER_CACHE"
    return f"{what}: {out_dir}; free space or choose another --out"


def _is_in(name: object, folder: Path) -> bool:
    return bool(name) and Path(str(name)).resolve().is_relative_to(folder.resolve())


def _free_bytes(folder: Path) -> int:
    """Of the disk that the folder is, or would be, on."""
    there = next((path for path in (folder.resolve(), *folder.resolve().parents) if path.exists()), Path("/"))
    return shutil.disk_usage(there).free
