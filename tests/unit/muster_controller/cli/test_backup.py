"""A fleet into one file and back: all of it or nothing, and one line that says why."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.adapters.backup import seal
from muster_controller.adapters.identity_x509 import open_admin_token, open_authority
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.cli.app import run
from muster_controller.core import backup as manifests
from muster_controller.core.backup import Backup, Part
from muster_controller.core.entities import BenchmarkRun, JoinToken, RequestState
from muster_controller.testing_values import NOW_NS, make_device, make_fleet, make_model, make_request, make_variant
from muster_protos.errors import PermanentError
from muster_protos.model import ArtifactRef, Tier

PASSPHRASE = "correct horse battery"


@dataclass
class Result:
    code: int
    out: str
    err: str


@dataclass
class Bench:
    """A data folder with a fleet, a place to restore to, and the commands."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def target(self) -> Path:
        return self.folder / "elsewhere" / "data"

    @property
    def file(self) -> Path:
        return self.folder / "fleet.tar"

    def muster(self, *arguments: str, data: Path | None = None) -> Result:
        self.capture.readouterr()
        code = run(["--data", str(data or self.data), *arguments])
        seen = self.capture.readouterr()
        return Result(code, seen.out, seen.err)

    def export(self, *options: str) -> Result:
        return self.muster("export", str(self.file), "--passphrase-file", str(self.folder / "passphrase"), *options)

    def restore(self, *options: str, passphrase: str = "passphrase") -> Result:
        named = ("--passphrase-file", str(self.folder / passphrase))
        return self.muster("import", str(self.file), *named, *options, data=self.target)

    def refused(self, code: int, message: str, passphrase: str = "passphrase") -> None:
        """One line, this exit code, and nothing half-made."""
        found = self.restore(passphrase=passphrase)
        assert found.code == code, found.err
        assert message in " ".join(found.err.split())
        assert found.out == ""
        assert not self.target.exists()
        assert not self.target.parent.exists() or list(self.target.parent.iterdir()) == []


@pytest.fixture(scope="module")
def fleet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder; copy it."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "weights.bin").write_bytes(b"weights" * 1000)
    data = folder / "data"
    data.mkdir(mode=0o700)
    weights = ArtifactRef(*FolderArtifactStore(data / "artifacts").put(folder / "weights.bin"))
    manifest = replace(make_variant().manifest, artifact=weights, golden=weights, evaluation=weights)
    store = open_store(data / "fleet.sqlite3")
    store.init_fleet(make_fleet())
    store.put_device(make_device("pi-1", {"room": "kitchen"}))
    store.add_model(replace(make_model(), evaluation=weights), replace(make_variant(), manifest=manifest))
    store.add_token(JoinToken("tok-1", "ab" * 32, NOW_NS, NOW_NS * 2, 1))
    store.add_run(
        BenchmarkRun("run-1", "digits", 1, Tier.QUICK, NOW_NS, ("pi-1",)), [make_request("req-1", device_id="pi-1")]
    )
    store.close()
    open_authority(data / "identity", "lab")
    open_admin_token(data / "identity")
    return data


@pytest.fixture
def bench(
    fleet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    made = Bench(tmp_path, capsys)
    shutil.copytree(fleet_folder, made.data)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    (tmp_path / "wrong").write_text("another horse\n")
    return made


def rewritten(bench: Bench, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    """The backup with other members."""
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(bench.file) as archive:
        for member in archive:
            file = archive.extractfile(member)
            members.append((member, file.read() if file else b""))
    change(members)
    bench.file.unlink()
    with tarfile.open(bench.file, "w") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))


def member_of(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    member.size = len(content) if kind == tarfile.REGTYPE else 0
    return member, content if kind == tarfile.REGTYPE else b""


def manifest_of(bench: Bench) -> Backup:
    with tarfile.open(bench.file) as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        return manifests.decode(file.read())


def test_a_fleet_comes_back_with_its_identity_and_artifacts_in_a_new_epoch(bench: Bench) -> None:
    made = bench.export("--with-artifacts", "-o", "json")
    assert made.code == 0, made.err
    assert json.loads(made.out) | {"created_at": "", "muster": ""} == {
        "fleet": "lab", "fleet_id": "lab", "epoch": 1, "created_at": "", "muster": "",
        "identity": "sealed", "artifacts": 1, "file": str(bench.file),
    }  # fmt: skip
    assert stat.S_IMODE(bench.file.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in bench.file.read_bytes()
    restored = bench.restore("-o", "json")
    assert restored.code == 0, restored.err
    assert (json.loads(restored.out)["epoch"], "artifacts of its models" in restored.err) == (2, False)
    for path in sorted(bench.data.rglob("*")):
        there = bench.target / path.relative_to(bench.data)
        if path.is_file() and not path.name.startswith("fleet.sqlite3"):
            assert there.read_bytes() == path.read_bytes(), path
    assert stat.S_IMODE((bench.target / "identity" / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.target.stat().st_mode) == 0o700
    store = open_store(bench.target / "fleet.sqlite3")
    try:
        fleet = store.fleet()
        assert fleet == replace(make_fleet(), epoch=2)
        assert store.get_device("pi-1").labels == {"room": "kitchen"}
        assert [token.is_revoked for token in store.list_tokens()] == [True], "it may have been used since"
        (entry,) = store.list_requests(state=RequestState.OPEN)
        assert entry.request.attempt == 2, "the answer to the first may have been acknowledged since"
    finally:
        store.close()
    assert sorted(path.name for path in bench.target.parent.iterdir()) == ["data"]


def test_a_snapshot_has_what_a_running_controller_has_committed_and_not_what_it_has_not(bench: Bench) -> None:
    store = open_store(bench.data / "fleet.sqlite3")
    store.put_device(make_device("pi-2"))
    other = sqlite3.connect(bench.data / "fleet.sqlite3", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE fleet SET epoch = 77")
        assert bench.export().code == 0
        other.execute("ROLLBACK")
    finally:
        other.close()
        store.close()
    found = bench.restore()
    assert found.code == 0
    assert "1 artifacts of its models are not here" in " ".join(found.err.split())
    restored = open_store(bench.target / "fleet.sqlite3")
    try:
        assert {device.device_id for device in restored.list_devices(None).items} == {"pi-1", "pi-2"}
        fleet = restored.fleet()
        assert fleet is not None
        assert fleet.epoch == 2
    finally:
        restored.close()


def test_the_identity_may_stay_out_and_then_both_ends_say_so(bench: Bench) -> None:
    made = bench.muster("export", str(bench.file), "--without-identity")
    assert (made.code, "is not in it" in made.err) == (0, True)
    found = bench.muster("import", str(bench.file), data=bench.target)
    assert (found.code, "every device has to join again" in " ".join(found.err.split())) == (0, True)
    assert "remove the one of before with muster device rm" in " ".join(found.err.split())
    assert not (bench.target / "identity").exists()


def test_a_file_system_without_hard_links_takes_a_backup(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: object, _target: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        made = bench.export()
    assert made.code == 0, made.err
    assert [path.name for path in bench.folder.glob("*fleet.tar*")] == ["fleet.tar"]
    assert bench.restore().code == 0


class TestRefused:
    def test_a_data_folder_that_is_not_empty(self, bench: Bench) -> None:
        assert bench.export().code == 0
        bench.target.mkdir(parents=True)
        (bench.target / "notes.txt").write_text("mine")
        found = bench.restore()
        assert (found.code, "notes.txt in it" in " ".join(found.err.split())) == (1, True)
        assert [path.name for path in bench.target.iterdir()] == ["notes.txt"]

    def test_an_empty_one_is_taken(self, bench: Bench) -> None:
        assert bench.export().code == 0
        bench.target.mkdir(parents=True)
        assert bench.restore().code == 0

    def test_a_place_that_cannot_be_written(self, bench: Bench) -> None:
        assert bench.export().code == 0
        bench.target.parent.write_text("a file where the folder should be")
        found = bench.restore()
        assert (found.code, "unexpected" in found.err) == (1, False), found.err

    def test_wrong_usage(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        assert bench.muster("export", str(bench.file)).code == 2, "nobody can be asked"
        (bench.folder / "passphrase").write_text("short\n")
        assert bench.export().code == 2
        assert bench.export("--without-identity").code == 2
        assert bench.muster("export", str(bench.folder / "no" / "where"), "--without-identity").code == 4
        assert bench.muster("export", str(bench.file), "--without-identity", data=bench.folder / "nothing").code == 4
        assert not bench.file.exists()
        bench.refused(4, "found no such file")
        bench.file.write_text("there before")
        assert bench.export().code == 1
        assert bench.file.read_text() == "there before"

    def test_a_wrong_passphrase(self, bench: Bench) -> None:
        assert bench.export().code == 0
        bench.refused(5, "expected the passphrase of this backup", passphrase="wrong")

    def test_an_artifact_that_has_rotted_is_not_exported(self, bench: Bench) -> None:
        (path,) = (bench.data / "artifacts" / "sha256").glob("*/*")
        path.chmod(0o600)
        path.write_bytes(b"rotten!" * 1000)
        found = bench.export("--with-artifacts")
        assert (found.code, "it has rotted" in " ".join(found.err.split())) == (1, True)
        path.unlink()
        assert bench.export("--with-artifacts").code == 1
        assert [item.name for item in bench.folder.glob("*fleet.tar*")] == []

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
    def test_what_is_cut_off(self, bench: Bench, share: float) -> None:
        assert bench.export("--with-artifacts").code == 0
        content = bench.file.read_bytes()
        bench.file.write_bytes(content[: int(len(content) * share)])
        bench.refused(1, "found")

    def test_a_bit_that_flipped_anywhere_is_noticed_or_changes_nothing(self, bench: Bench) -> None:
        assert bench.export("--with-artifacts").code == 0
        content = bench.file.read_bytes()
        used = [0, 100, 124, 150, 156, 512, 700, 1024, *range(2048, len(content) - 10_240, len(content) // 12)]
        noticed = 0
        for position in used:
            bench.file.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
            if bench.restore().code == 0:  # a byte between the parts, which nobody reads
                assert (bench.target / "identity" / "ca.key").read_bytes() == (
                    bench.data / "identity" / "ca.key"
                ).read_bytes()
                for path in (bench.target, *bench.target.rglob("*")):
                    path.chmod(0o700)
                bench.target.rename(bench.folder / f"taken-{position}")
            else:
                noticed += 1
                assert not bench.target.exists()
        assert noticed >= len(used) * 0.8

    @pytest.mark.parametrize(
        "foreign",
        [
            member_of("../escaped"),
            member_of("/tmp/escaped"),
            member_of("identity/ca.key"),
            member_of("fleet.sqlite3"),
            member_of("artifacts/sha256/aa/link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
            member_of("artifacts/sha256/aa/link", kind=tarfile.LNKTYPE, link="manifest.json"),
            member_of("device", kind=tarfile.CHRTYPE),
            member_of("folder", kind=tarfile.DIRTYPE),
        ],
        ids=lambda value: value[0].name + value[0].type.decode(),
    )
    def test_members_that_no_backup_has(self, bench: Bench, foreign: tuple[tarfile.TarInfo, bytes]) -> None:
        assert bench.export().code == 0
        rewritten(bench, lambda members: members.append(foreign))
        bench.refused(1, "expected only the files that the manifest")
        assert not (bench.folder / "escaped").exists()

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
    def test_a_part_that_is_a_link(self, bench: Bench, kind: bytes) -> None:
        assert bench.export().code == 0

        def link(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
            members[1] = member_of("fleet.sqlite3", kind=kind, link=str(bench.data / "fleet.sqlite3"))

        rewritten(bench, link)
        bench.refused(1, "expected only the files that the manifest")

    def test_parts_outside_the_data_folder(self) -> None:
        honest = Backup("0.1", "0003", "lab", "lab", 1, "now", False, (Part("fleet.sqlite3", "a" * 64, 1),))
        assert manifests.decode(manifests.encode(honest)) == honest
        for name in (
            "../x",
            "/x",
            "identity/ca.key",
            "artifacts/sha256/../../x",
            f"artifacts/sha256/bb/{'a' * 64}",
            "",
        ):
            forged = replace(honest, parts=(*honest.parts, Part(name, "a" * 64, 1)))
            with pytest.raises(PermanentError, match="expected parts of a backup"):
                manifests.decode(manifests.encode(forged))
        for parts in ((), honest.parts * 2):
            with pytest.raises(PermanentError, match="every part once"):
                manifests.decode(manifests.encode(replace(honest, parts=parts)))

    def test_a_newer_format_or_a_store_of_a_newer_version(self, bench: Bench) -> None:
        database = sqlite3.connect(bench.data / "fleet.sqlite3", isolation_level=None)
        assert bench.export().code == 0

        def newer(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
            content = manifests.encode(replace(manifest_of(bench), format=2))
            members[0] = member_of("manifest.json", content)

        rewritten(bench, newer)
        bench.refused(1, "found format 2")
        database.close()

    def test_a_store_of_a_newer_version(self, bench: Bench) -> None:
        assert bench.export().code == 0
        exchange_store(bench, "UPDATE alembic_version SET version_num = '9999'")
        bench.refused(1, "one that a newer version wrote")

    def test_a_store_that_was_exchanged_by_somebody_without_the_passphrase(self, bench: Bench) -> None:
        assert bench.export().code == 0
        exchange_store(bench, "UPDATE devices SET name = 'mine'", is_sealed_again=False)
        bench.refused(5, "parts of the backup were exchanged")


def exchange_store(bench: Bench, statement: str, *, is_sealed_again: bool = True) -> None:
    """A backup that is whole but for its content."""
    path = bench.folder / "exchanged.sqlite3"

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        path.write_bytes(members[1][1])
        database = sqlite3.connect(path, isolation_level=None)
        database.execute(statement)
        database.close()
        content = path.read_bytes()
        backup = manifest_of(bench)
        parts = {part.name: part for part in backup.parts}
        parts["fleet.sqlite3"] = part_of("fleet.sqlite3", content)
        backup = replace(backup, parts=tuple(parts.values()))
        members[1] = member_of("fleet.sqlite3", content)
        if is_sealed_again:
            identity = {path.name: path.read_bytes() for path in (bench.data / "identity").iterdir()}
            sealed = seal(identity, PASSPHRASE, manifests.bound_to(backup))
            parts["identity.sealed"] = part_of("identity.sealed", sealed)
            backup = replace(backup, parts=tuple(parts.values()))
            members[2] = member_of("identity.sealed", sealed)
        members[0] = member_of("manifest.json", manifests.encode(backup))

    rewritten(bench, change)


def part_of(name: str, content: bytes) -> Part:
    return Part(name, hashlib.sha256(content).hexdigest(), len(content))
