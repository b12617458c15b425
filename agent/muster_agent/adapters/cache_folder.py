"""The artifact cache as a folder: ``artifacts/sha256/<aa>/<sha256>`` and ``partial/<sha256>``.

A file gets its name only after length and sha256 were checked and its bytes were synced; names are never reused for
other bytes. What SIGKILL or a power cut leaves is either a partial file or a whole one.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from muster_agent.ports import ArtifactRottedError
from muster_devices.durable import make_folder, sync
from muster_devices.failpoint import hit
from muster_protos.errors import InvalidInputError, NotFoundError, TemporaryError
from muster_protos.ids import check_sha256
from muster_protos.model import ArtifactRef

log = logging.getLogger(__name__)

_BLOCK_BYTES = 128 * 1024
_QUARANTINED_KEPT = 4
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FolderCache:
    """Content-addressed files below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = root / "artifacts" / "sha256"
        self._partial = root / "partial"
        self._quarantine = root / "quarantine"
        self._digests: dict[str, _Digest] = {}  # of partial files that this process has written from their first byte
        with _disk("artifact folder", root):
            for folder in (self._names.parent, self._names, self._partial):
                make_folder(folder)

    def cached(self) -> frozenset[str]:
        """sha256 of every complete artifact."""
        return frozenset(path.name for path in self._names.glob("??/*") if len(path.name) == 64)

    def partial_bytes(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self._partial.iterdir() if len(path.name) == 64}

    def append(self, ref: ArtifactRef, offset: int, data: bytes) -> None:
        path = self._partial / check_sha256(ref.sha256)
        if offset < 0 or offset + len(data) > ref.size_bytes:
            raise InvalidInputError(
                f"expected {ref.size_bytes} bytes of artifact {ref.sha256[:12]}, found a chunk that ends at byte "
                f"{offset + len(data)}"
            )
        with _disk(f"artifact {ref.sha256[:12]}", self._root), path.open("ab") as file:
            if file.tell() != offset:
                raise InvalidInputError(
                    f"expected the chunk at byte {file.tell()} of artifact {ref.sha256[:12]}, found one at {offset}"
                )
            file.write(data)
        self._digest(ref.sha256, offset, data)
        hit("download: chunk written")

    def finish(self, ref: ArtifactRef) -> None:
        path = self._partial / check_sha256(ref.sha256)
        hit("verify: begins")
        with _disk(f"artifact {ref.sha256[:12]}", self._root):
            length = path.stat().st_size if path.exists() else 0
            digest = self._digests.pop(ref.sha256, None)
            if length != ref.size_bytes:
                found = ""
            elif digest is not None and digest.size_bytes == length:
                found = digest.sha256.hexdigest()
            else:  # begun by an earlier process
                found = _sha256_of(path)
            if found != ref.sha256:
                path.unlink(missing_ok=True)
                what = f"sha256 {found[:12]}" if found else f"{length} of {ref.size_bytes} bytes"
                raise TemporaryError(
                    f"expected artifact {ref.sha256[:12]}, received {what}; thrown away, fetching again"
                )
            sync(path)
            hit("verify: synced")
            target = self.path(ref.sha256)
            make_folder(target.parent)
            path.replace(target)
            hit("verify: named")
            sync(target.parent)

    def _digest(self, sha256: str, offset: int, data: bytes) -> None:
        """Hash while the network brings the next chunk; reading it all back at the end would cost as much again."""
        if offset == 0:
            self._digests[sha256] = _Digest()
        digest = self._digests.get(sha256)
        if digest is None or digest.size_bytes != offset:
            self._digests.pop(sha256, None)
            return
        digest.sha256.update(data)
        digest.size_bytes += len(data)

    def check(self, ref: ArtifactRef) -> Path:
        path = self.path(ref.sha256)
        try:
            with _disk(f"artifact {ref.sha256[:12]}", self._root):
                found = _sha256_of(path)
        except NotFoundError as error:
            raise TemporaryError(f"artifact {ref.sha256[:12]} has vanished from the cache; fetching again") from error
        if found == ref.sha256:
            return path
        self._put_in_quarantine(path)
        raise ArtifactRottedError(
            f"artifact {ref.sha256[:12]} has rotted on disk (its bytes hash to {found[:12]}); in quarantine, "
            "fetching again",
            ref.sha256,
        )

    def path(self, sha256: str) -> Path:
        return self._names / check_sha256(sha256)[:2] / sha256

    def remove(self, sha256s: Sequence[str]) -> None:
        with _disk("an artifact", self._root):
            for sha256 in sha256s:
                self._digests.pop(sha256, None)
                self.path(sha256).unlink(missing_ok=True)
                (self._partial / check_sha256(sha256)).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def _put_in_quarantine(self, path: Path) -> None:
        log.error("artifact %s does not match its name any more; moved to quarantine", path.name)
        with _disk(f"artifact {path.name[:12]}", self._root):
            self._quarantine.mkdir(exist_ok=True)
            path.replace(self._quarantine / path.name)
            hit("quarantine: moved")
            kept = sorted(self._quarantine.iterdir(), key=lambda item: item.stat().st_mtime_ns)
            for old in kept[:-_QUARANTINED_KEPT]:
                old.unlink(missing_ok=True)


class _Digest:
    """A hash under way and how much it has seen."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0


@contextmanager
def _disk(what: str, root: Path) -> Iterator[None]:
    """Turn a failing disk into an error that says so and is tried again."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is not in {root}") from error
    except OSError as error:
        if error.errno in _FULL:
            raise TemporaryError(f"disk full: {what} does not fit into {root}; free some space", 5.0) from error
        raise TemporaryError(f"{what} cannot be written or read in {root}: {error.strerror}") from error


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK_BYTES))  # one buffer: the agent is small
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(block):
            digest.update(block[:length])
    return digest.hexdigest()
