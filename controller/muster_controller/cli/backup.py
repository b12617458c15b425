"""muster export | import: a whole fleet in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muster_controller.adapters.backup import read_archive, write_archive
from muster_controller.cli.backup_parts import (
    check_empty,
    collect,
    put_in_place,
    restore_identity,
    restore_store,
    scratch,
    seal_identity,
    usable,
)
from muster_controller.cli.options import Output, chosen, data_folder
from muster_controller.cli.output import emit_one, err
from muster_controller.cli.passphrase import read_passphrase
from muster_controller.core.backup import IDENTITY, STORE, Backup
from muster_devices.durable import make_folder
from muster_protos.errors import ConflictError, NotFoundError, UsageError

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
    passphrase = "" if without_identity else read_passphrase(passphrase_file, is_new=True)
    with scratch(file.absolute().parent, ".muster-export-") as folder:
        backup, sources = collect(data, folder, with_artifacts=with_artifacts)
        if not without_identity:
            backup = seal_identity(backup, sources, data, passphrase)
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
    check_empty(data)
    asked: list[str] = []

    def ask(backup: Backup) -> None:
        """Before anything large is unpacked."""
        if backup.part(IDENTITY) is not None:
            asked.append(read_passphrase(passphrase_file, is_new=False))

    with usable(data.parent):
        make_folder(data.parent)
    with scratch(data.parent, f".{data.name}.import-") as staged:
        backup = read_archive(file, staged, ask)
        if asked:
            restore_identity(staged, backup, asked[0])
        missing = restore_store(staged, backup)
        for name in (part.name for part in backup.parts if part.name.startswith("artifacts/")):
            (staged / name).chmod(0o444)
        put_in_place(staged, data)
    _say_what_is_left(data, has_identity=bool(asked), missing=missing)
    emit_one({**_fields(backup), "epoch": backup.epoch + 1, "data": str(data)}, form, _but("file"))


def _but(field: str) -> dict[str, str]:
    return {title: name for title, name in FIELDS.items() if name != field}


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
