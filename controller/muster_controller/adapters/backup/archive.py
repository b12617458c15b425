"""The archive: an uncompressed tar of plain files, the manifest first; nothing counts that the manifest does not name.

Uncompressed, so that unpacking never takes more room than the file itself: what is large in a fleet does not shrink.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from muster_controller.core.backup import MANIFEST, Backup, Part, decode, encode
from muster_devices.durable import make_folder, sync
from muster_protos.errors import ConflictError, NotFoundError, PermanentError, TemporaryError

_BLOCK_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 256 << 20


def write_archive(path: Path, backup: Backup, sources: Mapping[str, Path | bytes]) -> None:
    """``backup`` under the name ``path``, 0600, whole or not at all. ``sources`` has the content of each part.

    Raises:
        ConflictError: there is a file of that name.
        PermanentError: a source is not what its part says (an artifact rotted), or the file cannot be written.
        TemporaryError: a source is gone, or the disk is full.
    """
    if path.exists() or path.is_symlink():
        raise ConflictError(f"expected no file at {path}, found one; choose another name")
    with _disk_errors(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                    manifest = encode(backup)
                    archive.addfile(_member(MANIFEST, len(manifest)), io.BytesIO(manifest))
                    for part in backup.parts:
                        _add(archive, part, sources[part.name])
                file.flush()
                os.fsync(file.fileno())
            try:
                _name(temporary, path)
            except FileExistsError as error:
                raise ConflictError(f"expected no file at {path}, found one; choose another name") from error
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent.absolute())


def read_archive(path: Path, folder: Path, check: Callable[[Backup], None]) -> Backup:
    """Unpack into ``folder`` what the manifest names, each part checked; every file 0600 and synced.

    ``check`` sees the manifest before anything is unpacked and may refuse it.

    Raises:
        NotFoundError: there is no such file.
        PermanentError: it is no backup, is damaged, or has members that no backup has (links, other paths).
        TemporaryError: the disk is full.
    """
    if not path.is_file():
        raise NotFoundError(f"expected a backup at {path}, found no such file")
    with _disk_errors(path), _as_damaged(path), tarfile.open(path, mode="r:") as archive:
        members = iter(archive)
        backup = decode(_manifest(archive, next(members, None)))
        check(backup)
        expected = {part.name: part for part in backup.parts}
        for member in members:
            part = expected.pop(member.name, None)
            if part is None or not _is_plain(member) or member.size != part.size_bytes:
                raise PermanentError(
                    f"expected only the files that the manifest of {path} names, found {member.name!r}"
                )
            _unpack(archive, member, part, folder / part.name)
        if expected:
            raise PermanentError(f"expected a whole backup at {path}, found it cut off before {min(expected)}")
    return backup


def _name(temporary: Path, path: Path) -> None:
    """Give the file its name; FileExistsError where one of that name appeared meanwhile."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # FAT, as on a stick, has no hard links
        temporary.replace(path)


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o600
    return member


def _add(archive: tarfile.TarFile, part: Part, source: Path | bytes) -> None:
    if isinstance(source, bytes):
        archive.addfile(_member(part.name, len(source)), io.BytesIO(source))
        return
    try:
        file = source.open("rb")
    except FileNotFoundError as error:
        raise TemporaryError(f"{part.name} was removed while it was exported; export again") from error
    with file:
        hashing = _Hashing(file)
        archive.addfile(_member(part.name, part.size_bytes), hashing)
        if hashing.sha256 != part.sha256:
            raise PermanentError(
                f"expected {part.name} to have the sha256 {part.sha256[:12]}..., found other bytes; it has rotted"
            )


class _Hashing:
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        return block


def _manifest(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> bytes:
    if member is None or member.name != MANIFEST or not _is_plain(member) or member.size > _MOST_MANIFEST_BYTES:
        raise PermanentError("expected a backup made by muster export, found a file that does not begin like one")
    file = archive.extractfile(member)
    return file.read() if file is not None else b""


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and getattr(member, "sparse", None) is None


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, part: Part, target: Path) -> None:
    make_folder(target.parent, 0o700)
    digest = hashlib.sha256()
    source = archive.extractfile(member)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while source is not None and (block := source.read(_BLOCK_BYTES)):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != part.sha256:
        raise PermanentError(f"expected {part.name} to have the sha256 {part.sha256[:12]}..., found damaged bytes")
    sync(target.parent)


@contextlib.contextmanager
def _as_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise PermanentError(f"expected a whole backup at {path}, found a damaged or foreign file ({error})") from error


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(f"the disk is full; nothing was made of {path}: make room") from error
        raise PermanentError(
            f"expected to work with {error.filename or path}, found: {error.strerror or error}"
        ) from error
