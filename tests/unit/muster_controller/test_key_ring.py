"""Signing keys change without a device losing the thread, and a crash leaves one set or the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.core.key_sets import Trust, follow
from muster_controller.adapters.identity_x509.folder import open_private_folder
from muster_controller.adapters.identity_x509.key_ring import KeyRing
from muster_controller.adapters.identity_x509.signing import Ed25519Verifier
from muster_controller.testing import ManualClock
from muster_protos.envelope import DESIRED_STATE
from muster_protos.errors import ConflictError, NotAuthorisedError, PermanentError
from muster_protos.model import SignedEnvelope, SigningKey, TrustedKey

DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return open_private_folder(tmp_path / "identity")


def check(envelope: SignedEnvelope, key: SigningKey) -> None:
    Ed25519Verifier((key,)).verify((envelope,))


def pinned(ring: KeyRing) -> Trust:
    """What a device that joins now trusts."""
    return Trust(ring.key_set.version, tuple(TrustedKey(key) for key in ring.in_force()))


def test_a_new_ring_signs_with_its_first_key(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    assert (ring.key_set.version, ring.chain) == (1, ())
    ring.verify((ring.sign(DESIRED_STATE, b"x"),))
    assert KeyRing(folder, "lab", clock.now_ns).signing_key == ring.signing_key


def test_during_the_overlap_old_and_new_devices_believe_what_is_signed(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    old = ring.signing_key
    ring.rotate(30 * DAY_S)
    envelope = ring.sign(DESIRED_STATE, b"x")
    for key in (old, ring.signing_key):
        check(envelope, key)


def test_after_the_overlap_only_the_new_key_signs_and_the_old_ones_secret_is_gone(
    folder: Path, clock: ManualClock
) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    old = ring.signing_key
    ring.rotate(30 * DAY_S)
    assert (folder / "signing.key").exists()
    clock.advance(30 * DAY_S)
    with pytest.raises(NotAuthorisedError):
        check(ring.sign(DESIRED_STATE, b"x"), old)
    again = KeyRing(folder, "lab", clock.now_ns)
    assert not (folder / "signing.key").exists()
    assert again.in_force() == (ring.signing_key,)
    again.rotate(DAY_S)
    assert follow(Trust(1, (TrustedKey(old),)), "lab", again.chain, check).version == 3


def test_a_device_that_was_away_for_three_rotations_follows_the_chain(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    trust = pinned(ring)
    for _ in range(3):
        ring.rotate(DAY_S)
        clock.advance(100 * DAY_S)
    trust = follow(trust, "lab", ring.chain, check)
    assert trust.version == 4
    assert trust.in_force(clock.now_ns()) == (ring.signing_key,)
    assert len(trust.vouching()) == 4


def test_a_device_that_is_up_to_date_checks_nothing(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    ring.rotate(DAY_S)
    trust = pinned(ring)

    def never(_envelope: SignedEnvelope, _key: SigningKey) -> None:
        raise AssertionError("nothing is to be checked")

    assert follow(trust, "lab", ring.chain, never) is trust


def test_a_set_by_a_key_that_was_never_trusted_is_refused(folder: Path, tmp_path: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    thief = KeyRing(open_private_folder(tmp_path / "thief"), "lab", clock.now_ns)
    thief.rotate(DAY_S)
    with pytest.raises(NotAuthorisedError):
        follow(pinned(ring), "lab", thief.chain, check)


def test_a_set_by_a_replaced_key_is_refused(folder: Path, clock: ManualClock) -> None:
    """Only the key that signs today hands over: a replaced one, stolen later, starts no second branch."""
    ring = KeyRing(folder, "lab", clock.now_ns)
    old_secret = (folder / "signing.key").read_bytes()
    trust = pinned(ring)
    ring.rotate(30 * DAY_S)
    trust = follow(trust, "lab", ring.chain, check)
    thief_folder = open_private_folder(folder / "thief")
    (thief_folder / "signing.key").write_bytes(old_secret)
    thief = KeyRing(thief_folder, "lab", clock.now_ns)
    thief.rotate(DAY_S)
    thief.rotate(DAY_S)
    with pytest.raises(NotAuthorisedError):
        follow(trust, "lab", thief.chain, check)


def test_gaps_and_sets_of_other_fleets_are_refused(folder: Path, tmp_path: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    trust = pinned(ring)
    ring.rotate(DAY_S)
    ring.rotate(DAY_S)
    with pytest.raises(NotAuthorisedError, match="expected set 2"):
        follow(trust, "lab", ring.chain[1:], check)
    with pytest.raises(NotAuthorisedError, match="of fleet other"):
        follow(trust, "other", ring.chain, check)


def test_something_signed_that_is_no_set_is_refused(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    with pytest.raises(NotAuthorisedError, match="set of signing keys"):
        follow(pinned(ring), "lab", (ring.sign(DESIRED_STATE, b""),), check)


def test_a_key_file_without_its_set_is_a_rotation_that_never_was(folder: Path, clock: ManualClock) -> None:
    """Killed between the two files: the set on disk is the old one, and it goes on with the old key."""
    ring = KeyRing(folder, "lab", clock.now_ns)
    first = ring.signing_key
    ring.rotate(DAY_S)
    (folder / "key-sets.json").unlink()
    again = KeyRing(folder, "lab", clock.now_ns)
    assert again.signing_key == first
    assert [path.name for path in folder.glob("signing*.key")] == ["signing.key"]


def test_damage_to_the_chain_or_a_missing_secret_is_said_and_nothing_is_made_anew(
    folder: Path, clock: ManualClock
) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    ring.rotate(DAY_S)
    secret = folder / f"signing-{ring.signing_key.key_id}.key"
    content = secret.read_bytes()
    secret.unlink()
    with pytest.raises(PermanentError, match="private half"):
        KeyRing(folder, "lab", clock.now_ns)
    secret.write_bytes(content)
    (folder / "key-sets.json").write_text("{}")
    with pytest.raises(PermanentError, match="key sets"):
        KeyRing(folder, "lab", clock.now_ns)


def test_without_an_overlap_the_old_key_is_out_at_once(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    old = ring.signing_key
    ring.rotate(0)
    assert ring.in_force() == (ring.signing_key,)
    assert old not in ring.in_force()


def test_too_many_keys_in_force_are_refused(folder: Path, clock: ManualClock) -> None:
    ring = KeyRing(folder, "lab", clock.now_ns)
    for _ in range(15):
        ring.rotate(DAY_S)
    with pytest.raises(ConflictError, match="in force"):
        ring.rotate(DAY_S)
