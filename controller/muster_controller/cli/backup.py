"""muster export | import: a whole fleet in one file, and back."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from muster_controller.adapters.backup import (
    as_one_file,
    open_seal,
    read_archive,
    schema_of,
    seal,
    take_snapshot,
    write_archive,
)
from muster_controller.adapters.identity_x509 import open_authority
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.cli.options import Output, chosen, data_folder
from muster_controller.cli.output import emit_one, err
from muster_controller.core.backup import IDENTITY, STORE, Backup, Part, artifact_name, bound_to
from muster_controller.core.entities import RequestState
from muster_controller.service.version import product_version
from muster_devices.durable import make_folder, replace_file, sync
from muster_protos.errors import ConflictError, NotFoundError, PermanentError, UsageError

FIELDS = {
    "FLEET": "fleet",
    "EPOCH": "epoch",
    "MADE": "created_at",
    "VERSION": "muster",
    "IDENTITY": "identity",
    "ARTIFACTS": "artifacts",
    "FILE": "file",
    "DATA": "data",
}
_FOLDER = "identity"
_NEEDED = frozenset({"ca.key", "ca.pem"})
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHORTEST = 8
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help='Its first line is the passphrase; "-" = standard input. Else it is asked.'),
]


def register(app: typer.Typer) -> None:
    app.command("export")(export)
    app.command("import")(import_)


def export(
    file: Annotated[Path, typer.Argument(help="The backup to make; it must not exist.")],
    with_artifacts: Annotated[bool, typer.Option("--with-artifacts", help="The models' bytes, too.")] = False,
    without_identity: Annotated[
        bool, typer.Option("--without-identity", help="Leave CA and signing key out; keep them somewhere yourself.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    output: Output = None,
) -> None:
    """Back the fleet of this machine's data folder up, while its controller runs or not."""
    form, data = chosen(output), data_folder()
    if without_identity and passphrase_file is not None:
        raise UsageError("expected --passphrase-file or --without-identity, found both")
    if file.exists():
        raise ConflictError(f"expected no file at {file}, found one; choose another name")
    if not file.absolute().parent.is_dir():
        raise NotFoundError(f"expected a folder at {file.absolute().parent}, found none")
    if not (data / STORE).is_file():
        raise NotFoundError(f"expected a fleet at {data}, found no {STORE}; choose with --data")
    passphrase = "" if without_identity else _passphrase(passphrase_file, is_new=True)
    with _scratch(file.absolute().parent, ".muster-export-") as folder:
        backup, sources = _collect(data, folder, with_artifacts=with_artifacts)
        if not without_identity:
            sealed = seal(_identity_files(data / _FOLDER), passphrase, bound_to(backup))
            sources[IDENTITY] = sealed
            backup = _with_part(backup, _part_of_bytes(IDENTITY, sealed))
        write_archive(file, backup, sources)
    if without_identity:
        err().print("the identity (CA and signing key) is not in it: keep a copy of the folder identity/ apart")
    emit_one({**_fields(backup), "file": str(file)}, form, _but("data"))


def import_(
    file: Annotated[Path, typer.Argument(help="A backup made by muster export.")],
    passphrase_file: PassphraseFile = None,
    output: Output = None,
) -> None:
    """Restore a backup into this machine's data folder, which must be empty; then: muster up."""
    form, data = chosen(output), data_folder().absolute()
    if not file.is_file():
        raise NotFoundError(f"expected a backup at {file}, found no such file")
    _check_empty(data)
    asked: list[str] = []

    def ask(backup: Backup) -> None:
        """Before anything large is unpacked."""
        if backup.part(IDENTITY) is not None:
            asked.append(_passphrase(passphrase_file, is_new=False))

    with _usable(data.parent):
        make_folder(data.parent)
    with _scratch(data.parent, f".{data.name}.import-") as staged:
        backup = read_archive(file, staged, ask)
        if asked:
            _restore_identity(staged, backup, asked[0])
        missing = _restore_store(staged, backup)
        for name in (part.name for part in backup.parts if part.name.startswith("artifacts/")):
            (staged / name).chmod(0o444)
        _put_in_place(staged, data)
    _say_what_is_left(data, has_identity=bool(asked), missing=missing)
    emit_one({**_fields(backup), "epoch": backup.epoch + 1, "data": str(data)}, form, _but("file"))


def _but(field: str) -> dict[str, str]:
    return {title: name for title, name in FIELDS.items() if name != field}


def _collect(data: Path, folder: Path, *, with_artifacts: bool) -> tuple[Backup, dict[str, Path | bytes]]:
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


def _restore_identity(staged: Path, backup: Backup, passphrase: str) -> None:
    files = open_seal((staged / IDENTITY).read_bytes(), passphrase, bound_to(backup))
    if any(not _FILE_NAME.fullmatch(name) for name in files) or not files.keys() >= _NEEDED:
        raise PermanentError(
            "expected the files of an identity under the seal, found others; nothing was taken from it"
        )
    folder = staged / _FOLDER
    with _usable(staged.parent):
        make_folder(folder, 0o700)
        for name, content in files.items():
            replace_file(folder / name, content)
        (staged / IDENTITY).unlink()
    open_authority(folder, backup.fleet_id)  # its keys belong together and to this fleet


def _restore_store(staged: Path, backup: Backup) -> int:
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


def _check_empty(data: Path) -> None:
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


def _put_in_place(staged: Path, data: Path) -> None:
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


def _say_what_is_left(data: Path, *, has_identity: bool, missing: int) -> None:
    if not has_identity:
        err().print(
            f"the backup has no identity: put the folder identity/ of before into {data} before the first start; "
            "with a new one every device has to join again",
            markup=False,
        )
    if missing:
        err().print(
            f"{missing} artifacts of its models are not here: copy the folder artifacts/ of before into {data}; "
            "devices go on with what they have",
            markup=False,
        )
    err().print(
        f"next: stop the controller of before, then muster up --data {data} under its address; this machine joins anew "
        "then, under another id: remove the one of before with muster device rm",
        markup=False,
    )


def _passphrase(file: Path | None, *, is_new: bool) -> str:
    """From the file, else asked at the terminal.

    Raises:
        UsageError: nobody can be asked, or a new one is too short.
    """
    if file is not None:
        passphrase = _first_line(file)
    elif not sys.stdin.isatty():
        raise UsageError("expected --passphrase-file where nobody can be asked (or, for export, --without-identity)")
    else:
        passphrase = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=is_new, err=True))
    if is_new and len(passphrase) < _SHORTEST:
        raise UsageError(f"expected a passphrase of at least {_SHORTEST} characters, found {len(passphrase)}")
    return passphrase


def _first_line(file: Path) -> str:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"expected a passphrase in {file}, found no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"expected a passphrase in {file}, found a file that cannot be read as text") from error
    return text.split("\n", 1)[0].rstrip("\r")


@contextmanager
def _scratch(parent: Path, prefix: str) -> Iterator[Path]:
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
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PermanentError(f"expected to write in {folder}, found: {error.strerror}; choose with --data") from error


def _part_of_file(name: str, path: Path) -> Part:
    with path.open("rb") as file:
        return Part(name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _part_of_bytes(name: str, content: bytes) -> Part:
    return Part(name, hashlib.sha256(content).hexdigest(), len(content))


def _with_part(backup: Backup, part: Part) -> Backup:
    return replace(backup, parts=(*backup.parts, part))


def _fields(backup: Backup) -> dict[str, object]:
    artifacts = sum(part.name.startswith("artifacts/") for part in backup.parts)
    return {
        "fleet": backup.fleet,
        "fleet_id": backup.fleet_id,
        "epoch": backup.epoch,
        "created_at": backup.created_at,
        "muster": backup.muster,
        "identity": "sealed" if backup.part(IDENTITY) else "left out",
        "artifacts": artifacts if backup.has_artifacts else "left out",
    }
