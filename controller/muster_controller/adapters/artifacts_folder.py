"""Artifacts in a folder, named by their content: ``sha256/<first two>/<sha256>``."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from muster_devices.durable import make_folder, sync
from muster_devices.failpoint import hit
from muster_protos.errors import InvalidInputError, NotFoundError, PermanentError, TemporaryError
from muster_protos.ids import check_sha256

_BLOCK_BYTES = 1 << 20
_TEMPORARY_PREFIX = "put-"
_LEFTOVER_AGE_NS = 3600 * 10**9


class FolderArtifactStore:
    """``ports.ArtifactStore`` over a local file system.

    A file gets its name only after all of its bytes are on disk (temporary file, fsync, rename, fsync of the folder),
    so a name always stands for whole bytes, after a crash too. Nothing is ever overwritten. A file's time says when its
    bytes were last put.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / "sha256"
        self._incoming = root / "incoming"
        self._lock = threading.Lock()  # between looking at a file's age and naming or removing it
        with _disk_errors():
            for folder in (root, self._root, self._incoming):
                make_folder(folder)
            _remove_leftovers(self._incoming)

    def put(self, source: Path) -> tuple[str, int]:
        """Copy ``source`` in and return (sha256, bytes); idempotent.

        Raises:
            NotFoundError: there is no such file.
            TemporaryError: the disk is full; nothing is left behind.
        """
        with _disk_errors():
            handle, name = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=self._incoming)
            temporary = Path(name)
            try:
                sha256, size_bytes = _copy(source, handle)
                hit("shelf: copied")
                self._name(temporary, sha256)
            finally:
                temporary.unlink(missing_ok=True)
        return sha256, size_bytes

    def size(self, sha256: str) -> int:
        return self.path(sha256).stat().st_size

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; fewer at the end, none after it."""
        if offset < 0 or length < 0:
            raise InvalidInputError(f"expected a range of bytes, found offset {offset} and length {length}")
        with _disk_errors(), self.path(sha256).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def path(self, sha256: str) -> Path:
        target = self._target(sha256)
        if not target.is_file():
            raise NotFoundError(f"expected a stored artifact, found none with the sha256 {sha256}")
        return target

    def iter_sha256s(self) -> Iterator[str]:
        """In no particular order; files that are not artifacts are passed over."""
        for path in self._root.glob("??/*"):
            if len(path.name) == 64 and path.parent.name == path.name[:2]:
                yield path.name

    def remove(self, sha256: str, min_age_s: float = 0.0) -> bool:
        """Delete the bytes unless they were last put less than ``min_age_s`` ago; whether they were deleted."""
        target = self._target(sha256)
        with _disk_errors(), self._lock:
            try:
                if min_age_s > 0 and time.time() - target.stat().st_mtime < min_age_s:
                    return False
                target.unlink()
            except FileNotFoundError:
                return False
        return True

    def _target(self, sha256: str) -> Path:
        return self._root / check_sha256(sha256)[:2] / sha256

    def _name(self, temporary: Path, sha256: str) -> None:
        target = self._target(sha256)
        with self._lock:
            try:
                os.utime(target)  # young again, so that nobody removes what is just being put
            except FileNotFoundError:
                make_folder(target.parent)
                temporary.chmod(0o444)
                temporary.rename(target)
                hit("shelf: named")
            else:  # perhaps of a controller that was killed before it was safe
                sync(target)
                sync(self._root)
            sync(target.parent)


def _copy(source: Path, handle: int) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with os.fdopen(handle, "wb") as target:
        try:
            file = source.open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(f"expected a file, found none at {source}") from error
        with file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                target.write(block)
                size_bytes += len(block)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest(), size_bytes


def _remove_leftovers(incoming: Path) -> None:
    # Of a controller that was killed. Another one may be at work in the same folder: what is young stays.
    oldest_ns = time.time_ns() - _LEFTOVER_AGE_NS
    for leftover in incoming.glob(f"{_TEMPORARY_PREFIX}*"):
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime_ns < oldest_ns:
                leftover.unlink()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError("the disk of the artifact store is full; nothing was stored: make room") from error
        raise PermanentError(f"expected a usable artifact folder, found: {error}") from error
