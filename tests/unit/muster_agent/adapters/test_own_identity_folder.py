"""This device's identity as it changes: nothing that is learnt at the same moment is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.adapters.own_identity_folder import FolderIdentity
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_protos import codec
from muster_protos.envelope import SIGNING_KEY_SET
from muster_protos.errors import InvalidInputError
from muster_protos.model import SignedEnvelope, SigningKey, SigningKeySet, TrustedKey

OLD, NEW = SigningKey("old", b"\1" * 32), SigningKey("new", b"\2" * 32)
DOOR = "https://192.0.2.1:8472"


@pytest.fixture
def folder(tmp_path: Path) -> IdentityFolder:
    made = IdentityFolder(tmp_path / "identity")
    made.write(Identity("lab", "pi-1", b"certificate", b"ca", (OLD,), ("grpcs://192.0.2.1:8471",)))
    made.key_path.touch()
    return made


def stored(folder: IdentityFolder) -> Identity:
    found = folder.read()
    assert found is not None
    return found


def test_door_that_is_learnt_while_signing_keys_are_checked_is_kept(folder: IdentityFolder) -> None:
    def check(envelope: SignedEnvelope, key: SigningKey) -> None:
        assert key == OLD
        identity.learn_door(DOOR)

    identity = FolderIdentity(folder, check)
    key_set = SigningKeySet("lab", 2, (TrustedKey(NEW),), 1)
    assert identity.follow([SignedEnvelope(SIGNING_KEY_SET, codec.encode(key_set))])
    assert stored(folder).door_url == DOOR
    assert stored(folder).signing_keys == (NEW, OLD)


@pytest.mark.parametrize("url", ["x", "http://192.0.2.1:8472", "https://192.0.2.1", "https://192.0.2.1:99999"])
def test_what_is_no_door_is_not_remembered(folder: IdentityFolder, url: str) -> None:
    identity = FolderIdentity(folder, lambda envelope, key: None)
    identity.learn_door(DOOR)
    with pytest.raises(InvalidInputError):
        identity.learn_door(url)
    identity.learn_door("")
    assert stored(folder).door_url == DOOR
