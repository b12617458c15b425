"""What goes into a backup, and what comes out of one into a new data folder."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from muster_controller.adapters.backup import as_one_file, open_seal, schema_of, seal, take_snapshot
from muster_controller.adapters.identity_x509 import open_authority
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.core.backup import IDENTITY, STORE, Backup, Part, artifact_name, bound_to
from muster_controller.core.entities import RequestState
from muster_controller.service.version import product_version
from muster_devices.durable import make_folder, replace_file, sync
from muster_protos.errors import ConflictError, NotFoundError, PermanentError

_FOLDER = "identity"
_NEEDED = frozenset({"ca.key", "ca.pem"})
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def collect(data: Path, folder: Path, *, with_artifacts: bool) -> tuple[Backup, dict[str, Path | bytes]]:
    """The manifest so far and where the content of its parts lies; the store as of one moment comes first."""
    snapshot = folder / STORE
    take_snapshot(data / STORE, snapshot)
    store = open_store(snapshot)
    try:
        fleet, named = store.fleet(), sorted(store.referenced_sha256s()) if with_artifacts else []
    finally:
        store.close()
    as_one_file(snapshot)
    if fleet is None:
        raise NotFoundError(f"expected a fleet at {data}, found a store that has none yet")
    sources: dict[str, Path | bytes] = {STORE: snapshot}
    parts = [_part_of_file(STORE, snapshot)]
    for sha256 in named:
        name = artifact_name(sha256)
        sources[name] = data / name
        if not (data / name).is_file():
            raise PermanentError(
                f"expected every artifact of the fleet at {data / 'artifacts'}, found {sha256[:12]}... missing; "
                "export without --with-artifacts"
            )
        parts.append(Part(name, sha256, (data / name).stat().st_size))
    backup = Backup(
        muster=product_version(),
        schema=schema_of(snapshot),
        fleet_id=fleet.fleet_id,
        fleet=fleet.name,
        epoch=fleet.epoch,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        has_artifacts=with_artifacts,
        parts=tuple(parts),
    )
    return backup, sources


def seal_identity(backup: Backup, sources: dict[str, Path | bytes], data: Path, passphrase: str) -> Backup:
    """The backup with the fleet's identity in it, sealed under the passphrase."""
    sealed = seal(_identity_files(data / _FOLDER), passphrase, bound_to(backup))
    sources[IDENTITY] = sealed
    return replace(backup, parts=(*backup.parts, _part_of_bytes(IDENTITY, sealed)))


def restore_identity(staged: Path, backup: Backup, passphrase: str) -> None:
    """Open the seal and lay the keys out.

    Raises:
        NotAuthorisedError: another passphrase. PermanentError: not the files of this fleet's identity.
    """
    files = open_seal((staged / IDENTITY).read_bytes(), passphrase, bound_to(backup))
    if any(not _FILE_NAME.fullmatch(name) for name in files) or not files.keys() >= _NEEDED:
        raise PermanentError(
            "expected the files of an identity under the seal, found others; nothing was taken from it"
        )
    folder = staged / _FOLDER
    with usable(staged.parent):
        make_folder(folder, 0o700)
        for name, content in files.items():
            replace_file(folder / name, content)
        (staged / IDENTITY).unlink()
    open_authority(folder, backup.fleet_id)  # its keys belong together and to this fleet


def restore_store(staged: Path, backup: Backup) -> int:
    """What a restored fleet has to do differently; returns how many artifacts it names and does not have.

    Devices may be ahead: a new epoch makes every desired state newer than theirs. Join secrets may have been used
    since. An answer may have been acknowledged that is not in the backup, and no device sends such a one again: what
    is open is asked as a new attempt.
    """
    store = open_store(staged / STORE)
    try:
        fleet = store.fleet()
        if fleet is None or (fleet.fleet_id, fleet.epoch) != (backup.fleet_id, backup.epoch):
            raise PermanentError(f"expected the store of fleet {backup.fleet_id} in the backup, found another one")
        store.begin_epoch()
        for token in store.list_tokens():
            store.revoke_token(token.token_id)
        for entry in store.list_requests(state=RequestState.OPEN):
            store.retry_request(entry.request.request_id, entry.request.attempt)
        named = store.referenced_sha256s()
    finally:
        store.close()
    as_one_file(staged / STORE)
    sync(staged / STORE)
    return sum(not (staged / artifact_name(sha256)).is_file() for sha256 in named)


def check_empty(data: Path) -> None:
    """Return when there is no such folder, or nothing in it."""
    try:
        found = next(data.iterdir(), None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PermanentError(f"expected an empty data folder at {data}, found: {error.strerror}") from error
    if found is not None:
        raise ConflictError(
            f"expected an empty data folder at {data}, found {found.name} in it; choose another one with --data"
        )


def put_in_place(staged: Path, data: Path) -> None:
    """All of it, in one step."""
    try:
        sync(staged)
        staged.replace(data)  # an empty folder is replaced, any other is not
        sync(data.parent)
    except OSError as error:
        raise PermanentError(
            f"expected an empty data folder at {data} that can be replaced, found: {error.strerror}; "
            "where it is a mount point, choose a folder in it with --data"
        ) from error


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A private folder that is gone afterwards, unless it was moved."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        raise PermanentError(f"expected to write in {parent}, found: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """What the disk says against the block is one error."""
    try:
        yield
    except OSError as error:
        raise PermanentError(f"expected to write in {folder}, found: {error.strerror}; choose with --data") from error


def _identity_files(folder: Path) -> dict[str, bytes]:
    try:
        found = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if _is_identity_file(path)}
    except OSError as error:
        raise PermanentError(f"expected the fleet's identity at {folder}, found: {error.strerror}") from error
    if missing := _NEEDED - found.keys():
        raise PermanentError(f"expected the fleet's identity at {folder}, found no {min(missing)}")
    return found


def _is_identity_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and _FILE_NAME.fullmatch(path.name) is not None


def _part_of_file(name: str, path: Path) -> Part:
    with path.open("rb") as file:
        return Part(name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _part_of_bytes(name: str, content: bytes) -> Part:
    return Part(name, hashlib.sha256(content).hexdigest(), len(content))
