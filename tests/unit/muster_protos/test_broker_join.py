from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from muster_controller.adapters.identity_x509 import open_authority
from muster_protos.broker_join import ANSWER, ASK, claim_certificate, claim_name, is_proof, prove, secret_sha256
from muster_protos.errors import InvalidInputError

SECRET = "s" * 32
ENDS_S = 1_900_000_000


def test_both_ends_build_the_same_claim_and_the_cas_signature_fits(tmp_path) -> None:
    authority = open_authority(tmp_path, "fleet-1")
    signature = authority.sign_claim(SECRET, ENDS_S)
    assert len(signature) == 86
    certificate_pem, key_pem = claim_certificate(SECRET, "fleet-1", ENDS_S, signature)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.ca_pem()))
    assert certificate.subject.rfc4514_string() == f"CN={claim_name(secret_sha256(SECRET))}"
    assert certificate.not_valid_after_utc == datetime.datetime.fromtimestamp(ENDS_S, tz=datetime.timezone.utc)
    assert certificate.public_key() == load_pem_private_key(key_pem, None).public_key()
    assert len(certificate.extensions) == 0  # no device's URI: worth nothing on another link


@pytest.mark.parametrize(
    ("secret", "fleet", "ends_s"),
    [("t" * 32, "fleet-1", ENDS_S), (SECRET, "fleet-2", ENDS_S), (SECRET, "fleet-1", ENDS_S + 1)],
)
def test_changed_link_makes_a_claim_that_the_ca_has_not_signed(tmp_path, secret, fleet, ends_s) -> None:
    authority = open_authority(tmp_path, "fleet-1")
    changed, _ = claim_certificate(secret, fleet, ends_s, authority.sign_claim(SECRET, ENDS_S))
    with pytest.raises(Exception, match=r"[Ii]ssuer|^$"):
        x509.load_pem_x509_certificate(changed).verify_directly_issued_by(
            x509.load_pem_x509_certificate(authority.ca_pem())
        )


@pytest.mark.parametrize("signature", ["", "a", "a" * 85, "!" * 86, "é" * 86])
def test_malformed_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidInputError):
        claim_certificate(SECRET, "fleet-1", ENDS_S, signature)


def test_proof_binds_secret_purpose_nonce_and_content() -> None:
    token = secret_sha256(SECRET)
    proof = prove(token, ASK, b"nonce", b"content")
    assert is_proof(proof, token, ASK, b"nonce", b"content")
    assert not is_proof(proof, secret_sha256("x"), ASK, b"nonce", b"content")
    assert not is_proof(proof, token, ANSWER, b"nonce", b"content")
    assert not is_proof(proof, token, ASK, b"noncec", b"ontent")
    assert not is_proof(b"", token, ASK, b"nonce", b"content")
