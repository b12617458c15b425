"""The verifier child and the adapter that asks it, against envelopes that cryptography signed here."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster_agent.adapters.verifier_child import VerifierChild
from muster_protos.envelope import DESIRED_STATE, VARIANT_MANIFEST, signed_bytes
from muster_protos.errors import NotAuthorisedError, TemporaryError
from muster_protos.model import EnvelopeSignature, SignedEnvelope, SigningKey


class Fleet:
    def __init__(self, key_id: str) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.key = SigningKey(key_id, self._key.public_key().public_bytes_raw())

    def sign(self, payload_type: str, payload: bytes) -> SignedEnvelope:
        signature = self._key.sign(signed_bytes(payload_type, payload))
        return SignedEnvelope(payload_type, payload, (EnvelopeSignature(self.key.key_id, signature),))


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet("k1")


@pytest.fixture(scope="module")
def verifier(fleet: Fleet) -> VerifierChild:
    return VerifierChild(lambda: (fleet.key,))


def test_good_batch_passes(fleet: Fleet, verifier: VerifierChild) -> None:
    verifier.verify([fleet.sign(DESIRED_STATE, b"state"), fleet.sign(VARIANT_MANIFEST, bytes(range(256)))])


def test_a_retired_key_vouches_for_manifests_and_for_nothing_else(fleet: Fleet) -> None:
    retired = Fleet("k0")
    verifier = VerifierChild(lambda: (fleet.key,), read_manifest_keys=lambda: (fleet.key, retired.key))
    verifier.verify([fleet.sign(DESIRED_STATE, b"state"), retired.sign(VARIANT_MANIFEST, b"manifest")])
    with pytest.raises(NotAuthorisedError, match="does not trust"):
        verifier.verify([retired.sign(DESIRED_STATE, b"state")])


def test_empty_batch_needs_no_child() -> None:
    VerifierChild(lambda: pytest.fail("no key is needed")).verify([])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: replace(good, payload=good.payload + b"\0"),
        lambda good: replace(good, payload=b""),
        lambda good: replace(good, payload_type=VARIANT_MANIFEST),
        lambda good: replace(good, payload_type=""),
        lambda good: replace(good, signatures=()),
        lambda good: replace(good, signatures=(replace(good.signatures[0], signature=b"\0" * 64),)),
        lambda good: replace(good, signatures=(replace(good.signatures[0], signature=b"short"),)),
        lambda good: replace(good, signatures=(replace(good.signatures[0], key_id="k2"),)),
        lambda good: Fleet("k1").sign(good.payload_type, good.payload),
        lambda good: Fleet("other").sign(good.payload_type, good.payload),
    ],
    ids=[
        "payload tampered",
        "payload emptied",
        "another payload type",
        "no payload type",
        "no signature",
        "zero signature",
        "short signature",
        "unknown key id",
        "another key under a pinned id",
        "another fleet",
    ],
)
def test_one_bad_envelope_refuses_the_batch(fleet: Fleet, verifier: VerifierChild, spoil: object) -> None:
    bad = spoil(fleet.sign(DESIRED_STATE, b"state"))  # type: ignore[operator]
    with pytest.raises(NotAuthorisedError, match="signed by this fleet"):
        verifier.verify([fleet.sign(DESIRED_STATE, b"other"), bad])


def test_reason_names_payload_type_and_key(verifier: VerifierChild) -> None:
    with pytest.raises(NotAuthorisedError, match=f"{DESIRED_STATE}.*stranger"):
        verifier.verify([Fleet("stranger").sign(DESIRED_STATE, b"x")])


def test_one_good_signature_among_foreign_ones_suffices(fleet: Fleet, verifier: VerifierChild) -> None:
    good = fleet.sign(DESIRED_STATE, b"x")
    foreign = Fleet("next").sign(DESIRED_STATE, b"x").signatures
    verifier.verify([replace(good, signatures=(*foreign, *good.signatures))])


def test_device_without_pinned_keys_trusts_nothing(fleet: Fleet) -> None:
    with pytest.raises(NotAuthorisedError):
        VerifierChild(lambda: ()).verify([fleet.sign(DESIRED_STATE, b"x")])


def test_damaged_pinned_key_trusts_nothing(fleet: Fleet) -> None:
    with pytest.raises(NotAuthorisedError):
        VerifierChild(lambda: (SigningKey("k1", b"short"),)).verify([fleet.sign(DESIRED_STATE, b"x")])


def test_renewed_keys_are_asked_for_anew(fleet: Fleet) -> None:
    keys: list[SigningKey] = []
    verifier = VerifierChild(lambda: keys)
    with pytest.raises(NotAuthorisedError):
        verifier.verify([fleet.sign(DESIRED_STATE, b"x")])
    keys.append(fleet.key)
    verifier.verify([fleet.sign(DESIRED_STATE, b"x")])


@pytest.mark.parametrize(
    "program",
    [
        "",
        "print('{}')",
        "print('[]')",
        "print('{\"verified\": 1}'); raise SystemExit(1)",
        "print('{\"verified\": true'); raise SystemExit(0)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    ],
    ids=["silent", "empty", "list", "says yes but fails", "torn", "killed"],
)
def test_child_that_does_not_answer_properly_verifies_nothing(
    fleet: Fleet, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$MUSTER_PROGRAM"\n')
    stand_in.chmod(0o700)
    monkeypatch.setenv("MUSTER_PROGRAM", program)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    with pytest.raises((TemporaryError, NotAuthorisedError)):
        VerifierChild(lambda: (fleet.key,)).verify([fleet.sign(DESIRED_STATE, b"x")] * 2)


def test_child_that_hangs_is_given_up(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\nexec sleep 60\n")
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    with pytest.raises(TemporaryError, match="no answer"):
        VerifierChild(lambda: (fleet.key,), timeout_s=0.2).verify([fleet.sign(DESIRED_STATE, b"x")])
