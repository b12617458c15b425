from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import make_request
from muster_protos.errors import NotAuthorisedError, PermanentError
from muster_protos.model import SigningKey

IDENTITY = Identity("lab", "pi-1", b"cert", b"ca", (SigningKey("k1", bytes(range(32))),), ("grpcs://127.0.0.1:8471",))


@pytest.fixture
def folder(tmp_path: Path) -> IdentityFolder:
    made = IdentityFolder(tmp_path / "identity")
    made.create()
    made.key_path.write_bytes(b"key")
    return made


def test_device_that_has_not_joined_has_no_identity(tmp_path: Path) -> None:
    assert IdentityFolder(tmp_path / "identity").read() is None


def test_identity_reads_back(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    assert folder.read() == IDENTITY
    assert folder.certificate_path.read_bytes() == b"cert"
    assert folder.ca_path.read_bytes() == b"ca"
    assert folder.read_key() == b"key"


def test_files_are_private(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700
    for path in (folder.certificate_path, folder.ca_path, folder.folder / "join.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_kill_between_two_files_leaves_one_whole_identity(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    later = replace(IDENTITY, certificate_pem=b"renewed")
    folder.write(later)
    folder.certificate_path.write_bytes(b"cert")  # as a kill right after join.json was replaced leaves it
    assert folder.read() == later
    assert folder.certificate_path.read_bytes() == b"renewed"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fleet_id": 1}', "\0" * 200])
def test_damaged_identity_is_one_clear_error(folder: IdentityFolder, text: str) -> None:
    (folder.folder / "join.json").write_text(text)
    with pytest.raises(PermanentError, match="join again"):
        folder.read()


def test_identity_without_its_key_is_one_clear_error(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    folder.key_path.unlink()
    with pytest.raises(PermanentError, match="join again"):
        folder.read()


def test_renewal_changes_the_certificate_only(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    folder.key_path.write_bytes(b"key")
    assert folder.renew(b"new") == replace(IDENTITY, certificate_pem=b"new")
    assert folder.read() == replace(IDENTITY, certificate_pem=b"new")


def test_certificate_for_the_door_stays_until_another_comes(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    folder.key_path.write_bytes(b"key")
    assert folder.renew(b"newer", b"door").door_certificate_pem == b"door"
    assert folder.renew(b"newest").door_certificate_pem == b"door"
    assert folder.read() == replace(IDENTITY, certificate_pem=b"newest", door_certificate_pem=b"door")


def test_device_outside_a_fleet_has_nothing_to_renew(folder: IdentityFolder) -> None:
    with pytest.raises(NotAuthorisedError):
        folder.renew(b"new")


def test_leaving_forgets_identity_and_key(folder: IdentityFolder) -> None:
    folder.write(IDENTITY)
    folder.remove()
    assert list(folder.folder.iterdir()) == []
    folder.remove()


def test_key_is_made_once_and_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    assert make_request(path).startswith(b"-----BEGIN CERTIFICATE REQUEST-----")
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make_request(path)
    assert path.read_bytes() == first


def test_foreign_file_in_the_keys_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"holiday photo")
    with pytest.raises(PermanentError, match="expected a key"):
        make_request(path)
    assert path.read_bytes() == b"holiday photo"


def test_agent_side_of_identity_never_imports_cryptography() -> None:
    program = (
        "import sys; import muster_agent.join, muster_agent.identity_folder, muster_agent.adapters.verifier_child, "
        "muster_agent.keys, muster_agent.verify, muster_agent.adapters.link_grpc; "
        "sys.exit('cryptography' in sys.modules or 'numpy' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run([sys.executable, "-c", program], check=False, env=environment).returncode == 0
