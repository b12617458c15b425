"""This device's identity as it changes: nothing that is learnt at the same moment is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.adapters import own_identity_folder
from muster_agent.adapters.own_identity_folder import FolderIdentity
from muster_agent.https import ForeignError, RemovedError
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_protos import codec
from muster_protos.envelope import SIGNING_KEY_SET
from muster_protos.errors import InvalidInputError, MusterError, NotAuthorisedError, TemporaryError, UnreachableError
from muster_protos.model import RenewalChallenge, RenewResponse, SignedEnvelope, SigningKey, SigningKeySet, TrustedKey

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


class Door:
    """Answers both questions, or none of them."""

    failure: MusterError | None = None

    def challenge(self) -> RenewalChallenge:
        if self.failure is not None:
            raise self.failure
        return RenewalChallenge(b"once", 1)

    def renew(self, certificate_pem: bytes, csr_pem: bytes) -> RenewResponse:
        return RenewResponse(b"renewed")


@pytest.fixture
def doors(folder: IdentityFolder, monkeypatch: pytest.MonkeyPatch) -> tuple[type[Door], type[Door], FolderIdentity]:
    """A join endpoint and a broker, each with what it fails with, and whose doors they are."""

    class Https(Door):
        def __init__(self, url: str, ca_pem: bytes) -> None:
            assert (url, ca_pem) == (DOOR, b"ca")

    class Broker(Door):
        pass

    monkeypatch.setattr(own_identity_folder, "HttpsRenewal", Https)
    monkeypatch.setattr(own_identity_folder, "_broker_door", lambda link, identity, folder: Broker())
    monkeypatch.setattr(own_identity_folder, "make_request", lambda key_path, challenge: challenge)
    links = ("mqtts://192.0.2.1:8883",)
    folder.write(Identity("lab", "pi-1", b"old", b"ca", (OLD,), links, door_url=DOOR, door_certificate_pem=b"door"))
    return Https, Broker, FolderIdentity(folder, lambda envelope, key: None)


@pytest.mark.parametrize(
    "failure",
    [
        UnreachableError("nobody there"),
        ForeignError("another certificate than the fleet's"),
        InvalidInputError("a captive portal's page"),
        TemporaryError("503 of a proxy"),
        NotAuthorisedError("the grace is over"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_door_fails_with_the_next_one_is_tried(
    doors: tuple[type[Door], type[Door], FolderIdentity], failure: MusterError
) -> None:
    https, broker, identity = doors
    https.failure = failure
    assert identity.renew_at_door(lambda _: None).certificate_pem == b"renewed"
    broker.failure = UnreachableError("no broker")
    with pytest.raises(MusterError) as caught:
        identity.renew_at_door(lambda _: None)
    is_the_controllers = type(failure) is NotAuthorisedError
    assert isinstance(caught.value, NotAuthorisedError if is_the_controllers else TemporaryError)


def test_that_the_device_was_removed_is_believed_of_the_join_endpoint_and_of_no_broker(
    doors: tuple[type[Door], type[Door], FolderIdentity],
) -> None:
    https, broker, identity = doors
    https.failure, broker.failure = UnreachableError("nobody there"), RemovedError("removed")
    with pytest.raises(NotAuthorisedError, match="cannot prove it") as caught:
        identity.renew_at_door(lambda _: None)
    assert not isinstance(caught.value, RemovedError)
    https.failure = RemovedError("removed")
    with pytest.raises(RemovedError):
        identity.renew_at_door(lambda _: None)
