"""Files that people hand in: streamed to disk, bounded, forgotten after a day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from muster_controller.service.context import new_id
from muster_devices.failpoint import hit
from muster_protos.errors import InvalidInputError, NotFoundError, TemporaryError

MAX_UPLOAD_BYTES = 4 * 2**30
LIFETIME_S = 24 * 3600
_ID = re.compile(r"upload-[0-9a-f]{10}")


class Uploads:
    """A folder of files named by ids that this class made up; no name from outside touches the disk."""

    def __init__(self, folder: Path, max_bytes: int = MAX_UPLOAD_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        """Write chunks; the file appears under its id only when the block ends without an error.

        Raises:
            InvalidInputError: more than ``max_bytes`` or nothing arrived.
            TemporaryError: the disk is full; nothing is left behind.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        upload_id = new_id("upload")
        partial = self._folder / f"{upload_id}.part"
        try:
            with partial.open("wb") as target:
                upload = Upload(upload_id, target, self._max_bytes)
                yield upload
            if upload.size_bytes == 0:
                raise InvalidInputError("expected a file with content, found 0 bytes")
            hit("upload: whole")
            partial.rename(self._folder / upload_id)
        except OSError as error:
            raise TemporaryError(f"the upload could not be stored: {error.strerror or error}") from error
        finally:
            partial.unlink(missing_ok=True)

    def path(self, upload_id: str) -> Path:
        path = self._folder / upload_id
        if not _ID.fullmatch(upload_id) or not path.is_file():
            raise NotFoundError(f'no upload "{upload_id[:80]}"; uploads are kept for a day, send the file again')
        return path

    def discard(self, upload_id: str) -> None:
        self.path(upload_id).unlink(missing_ok=True)

    def prune(self, now_ns: int) -> int:
        """Remove what nobody used for a day; returns how many files went."""
        if not self._folder.is_dir():
            return 0
        old = [path for path in self._folder.iterdir() if now_ns - path.stat().st_mtime_ns > LIFETIME_S * 10**9]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


class Upload:
    """One file on its way in."""

    def __init__(self, upload_id: str, target: BinaryIO, max_bytes: int) -> None:
        self.upload_id = upload_id
        self.size_bytes = 0
        self._target = target
        self._max_bytes = max_bytes

    def write(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise InvalidInputError(f"expected a file of at most {self._max_bytes} bytes, found more")
        self._target.write(chunk)
