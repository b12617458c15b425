"""The fleet's authority: its files, its certificates, its signatures."""

from __future__ import annotations

import datetime
import hashlib
import ssl
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from muster_controller.adapters.identity_x509 import (
    Ed25519Verifier,
    X509Authority,
    open_admin_token,
    open_authority,
)
from muster_controller.adapters.identity_x509.certificates import read_device_uri
from muster_protos.envelope import DESIRED_STATE, VARIANT_MANIFEST
from muster_protos.errors import InvalidInputError, NotAuthorisedError, PermanentError

NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)


def csr_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, name: str = "whoever") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm).public_bytes(Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "identity", "lab", now_ns=lambda: int(NOW.timestamp() * 1e9))


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_door_certificate_ends_with_the_grace_and_is_revoked_with_the_others(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    day_s = 86_400
    now_ns = int(NOW.timestamp() * 1e9)
    authority = open_authority(tmp_path / "identity", "lab", lambda: now_ns, device_life_s=day_s, grace_s=9 * day_s)
    door = x509.load_pem_x509_certificate(authority.issue_door_certificate(csr_of(key), "pi-1"))
    assert door.not_valid_after_utc - NOW == datetime.timedelta(days=10)
    authority.revoke_certificates("pi-2")
    assert _revoked(authority, door) is None
    authority.revoke_certificates("pi-1")
    assert _revoked(authority, door) is not None
    again = open_authority(tmp_path / "identity", "lab", lambda: now_ns + 9 * day_s * 10**9)
    assert _revoked(again, door) is not None


def _revoked(authority: X509Authority, certificate: x509.Certificate) -> x509.RevokedCertificate | None:
    listed = x509.load_pem_x509_crl(authority.revocation_list_pem())
    return listed.get_revoked_certificate_by_serial_number(certificate.serial_number)


def test_secrets_are_private_files_in_a_private_folder(authority: X509Authority, tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    open_admin_token(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o600, "signing.key": 0o600, "admin-token": 0o600}


def test_loose_modes_are_tightened_on_the_next_start(authority: X509Authority, tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    folder.chmod(0o755)
    (folder / "ca.key").chmod(0o644)
    open_authority(folder, "lab")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600


def test_authority_is_the_same_after_a_restart(authority: X509Authority, tmp_path: Path) -> None:
    again = open_authority(tmp_path / "identity", "lab")
    assert again.ca_pem() == authority.ca_pem()
    assert again.signing_keys() == authority.signing_keys()
    again.verifier.verify([authority.signer.sign(DESIRED_STATE, b"x")])


def test_two_that_start_together_make_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_admin_token(tmp_path / "identity"), range(8)))
    assert len(set(opened)) == 1
    assert len(opened[0]) >= 43


def test_folder_of_another_fleet_is_refused(authority: X509Authority, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="fleet other"):
        open_authority(tmp_path / "identity", "other")


@pytest.mark.parametrize("name", ["ca.key", "ca.pem", "signing.key"])
def test_damaged_file_is_one_clear_error(authority: X509Authority, tmp_path: Path, name: str) -> None:
    (tmp_path / "identity" / name).write_bytes(b"\0" * 100)
    with pytest.raises(PermanentError, match="expected PEM files"):
        open_authority(tmp_path / "identity", "lab")


def test_swapped_ca_key_is_noticed(authority: X509Authority, tmp_path: Path) -> None:
    open_authority(tmp_path / "other", "lab")
    (tmp_path / "identity" / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(PermanentError, match="belong together"):
        open_authority(tmp_path / "identity", "lab")


def test_fingerprint_is_the_sha256_of_the_ca_der(authority: X509Authority) -> None:
    der = ssl.PEM_cert_to_DER_cert(authority.ca_pem().decode())
    assert authority.ca_fingerprint() == hashlib.sha256(der).hexdigest()


def test_ca_signs_leaves_only_and_holds_for_a_device_whose_clock_is_wrong(authority: X509Authority) -> None:
    ca = x509.load_pem_x509_certificate(authority.ca_pem())
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    for certificate in (ca, x509.load_pem_x509_certificate(authority.issue_host_certificate(["h"])[0])):
        assert certificate.not_valid_before_utc.year == 1970
        assert certificate.not_valid_after_utc.year > 2100


def test_device_certificate_names_the_device_by_the_fleets_will(
    authority: X509Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    pem, serial, spki = authority.issue_device_certificate(csr_of(key, "i-am-the-admin"), "pi-1")
    certificate = x509.load_pem_x509_certificate(pem)
    assert read_device_uri(certificate) == ("lab", "pi-1")
    assert certificate.subject.rfc4514_string() == "CN=pi-1"
    assert format(certificate.serial_number, "x") == serial
    assert spki == authority.public_key_sha256(csr_of(key))
    assert (certificate.not_valid_after_utc - NOW).days == 7
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_serials_never_repeat(authority: X509Authority, key: ec.EllipticCurvePrivateKey) -> None:
    serials = {authority.issue_device_certificate(csr_of(key), "pi-1")[1] for _ in range(20)}
    assert len(serials) == 20


def test_request_with_a_broken_signature_is_refused(authority: X509Authority, key: ec.EllipticCurvePrivateKey) -> None:
    der = bytearray(x509.load_pem_x509_csr(csr_of(key)).public_bytes(Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(InvalidInputError, match="bad signature"):
        authority.issue_device_certificate(broken, "pi-1")


@pytest.mark.parametrize(
    "csr", [b"", b"hello", b"\xff" * 100, b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", b"x" * 20_000]
)
def test_bytes_that_are_no_request_are_refused(authority: X509Authority, csr: bytes) -> None:
    with pytest.raises(InvalidInputError):
        authority.issue_device_certificate(csr, "pi-1")


@pytest.mark.parametrize("make", [lambda: ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate])
def test_keys_that_grpc_would_refuse_are_refused(authority: X509Authority, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInputError, match="P-256"):
        authority.issue_device_certificate(csr_of(make()), "pi-1")  # type: ignore[arg-type]


def test_device_id_with_a_slash_gets_no_certificate(authority: X509Authority, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(InvalidInputError):
        authority.issue_device_certificate(csr_of(key), "a/../b")


def test_host_name_outside_ascii_is_refused(authority: X509Authority) -> None:
    with pytest.raises(InvalidInputError, match="host name"):
        authority.issue_host_certificate(["p\u0456"])


def test_good_signature_passes(authority: X509Authority) -> None:
    authority.verifier.verify([authority.signer.sign(DESIRED_STATE, b"payload")])


def test_tampered_envelopes_are_refused(authority: X509Authority) -> None:
    good = authority.signer.sign(DESIRED_STATE, b"payload")
    signature = good.signatures[0]
    flipped = replace(signature, signature=bytes([signature.signature[0] ^ 1]) + signature.signature[1:])
    for bad in (
        replace(good, payload=b"payloaD"),
        replace(good, payload_type=VARIANT_MANIFEST),
        replace(good, signatures=()),
        replace(good, signatures=(flipped,)),
        replace(good, signatures=(replace(signature, signature=b""),)),
        replace(good, signatures=(replace(signature, key_id="ed25519-other"),)),
    ):
        with pytest.raises(NotAuthorisedError):
            authority.verifier.verify([good, bad])


def test_signature_of_another_fleet_is_refused(authority: X509Authority, tmp_path: Path) -> None:
    other = open_authority(tmp_path / "other", "lab")
    with pytest.raises(NotAuthorisedError, match=DESIRED_STATE):
        Ed25519Verifier(authority.signing_keys()).verify([other.signer.sign(DESIRED_STATE, b"x")])
