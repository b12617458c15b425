"""The FleetAuthority port over a private folder: ``ca.pem``, ``ca.key``, ``signing.key``, ``issued``."""

from __future__ import annotations

import datetime
import hashlib
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from muster_controller.adapters.identity_x509 import certificates
from muster_controller.adapters.identity_x509.folder import open_private_folder, read_or_create
from muster_controller.adapters.identity_x509.ledger import CertificateLedger
from muster_controller.adapters.identity_x509.revocation import revocation_list_pem
from muster_controller.adapters.identity_x509.signing import Ed25519Signer, Ed25519Verifier
from muster_protos.errors import InvalidInputError, PermanentError
from muster_protos.ids import check_id
from muster_protos.model import SigningKey

DEVICE_CERTIFICATE_LIFE_S = 30 * 24 * 3600
_CLOCK_SKEW = datetime.timedelta(hours=1)  # between the replicas of one controller


class X509Authority:
    """Issues and revokes certificates with the fleet's CA and signs with its Ed25519 key. Thread-safe."""

    def __init__(
        self,
        fleet_id: str,
        ca: x509.Certificate,
        ca_key: EllipticCurvePrivateKey,
        signing_key: Ed25519PrivateKey,
        now_ns: Callable[[], int] = time.time_ns,
        device_life_s: float = DEVICE_CERTIFICATE_LIFE_S,
        ledger: CertificateLedger | None = None,
    ) -> None:
        self.fleet_id = fleet_id
        self.signer = Ed25519Signer(signing_key)
        self.verifier = Ed25519Verifier([self.signer.signing_key])
        self._ca = ca
        self._ca_key = ca_key
        self._now_ns = now_ns
        self._device_life = datetime.timedelta(seconds=device_life_s)
        self._ledger = ledger or CertificateLedger()

    def ca_pem(self) -> bytes:
        """The CA certificate."""
        return self._ca.public_bytes(Encoding.PEM)

    def ca_fingerprint(self) -> str:
        """sha256 over the CA certificate's DER, lower-case hex."""
        return hashlib.sha256(self._ca.public_bytes(Encoding.DER)).hexdigest()

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The public keys that devices pin."""
        return (self.signer.signing_key,)

    def public_key_sha256(self, csr_pem: bytes) -> str:
        """sha256 of the SPKI DER of a request's key; InvalidInputError on a bad request."""
        return certificates.spki_sha256(certificates.read_csr_key(csr_pem))

    def issue_device_certificate(self, csr_pem: bytes, device_id: str) -> tuple[bytes, str, str]:
        """(certificate PEM, serial hex, sha256 of the public key's SPKI DER). InvalidInputError on a bad CSR."""
        check_id(device_id, "device id")
        key = certificates.read_csr_key(csr_pem)
        life = self._life(self._device_life)
        uri = certificates.device_uri(self.fleet_id, device_id)
        certificate = certificates.make_device(self._ca, self._ca_key, key, uri, life)
        self._ledger.issued(device_id, certificate.serial_number, int(life[1].timestamp()) + 1)
        return (
            certificate.public_bytes(Encoding.PEM),
            format(certificate.serial_number, "x"),
            certificates.spki_sha256(key),
        )

    def issue_host_certificate(self, names: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """(certificate PEM, key PEM) for TLS endpoints under this host's own names and ``names``."""
        key = certificates.make_key()
        every_name = tuple(dict.fromkeys((*own_names(), *names)))
        certificate = certificates.make_host(self._ca, self._ca_key, key.public_key(), every_name)
        return certificate.public_bytes(Encoding.PEM), certificates.key_pem(key)

    def issue_client_certificate(self, name: str, life_s: float | None = None) -> tuple[bytes, bytes]:
        """(certificate PEM, key PEM) that only a broker takes, under ``name``; None = without end."""
        key = certificates.make_key()
        life = (
            (certificates.BEGINNING, certificates.NO_END)
            if life_s is None
            else self._life(datetime.timedelta(seconds=life_s))
        )
        certificate = certificates.make_client(self._ca, self._ca_key, key.public_key(), name, life)
        return certificate.public_bytes(Encoding.PEM), certificates.key_pem(key)

    def revoke_certificates(self, device_id: str) -> None:
        """Put everything that was issued to the device so far on the revocation list."""
        self._ledger.revoke(device_id, self._now_ns() // 10**9)

    def revocation_list_pem(self) -> bytes:
        """The fleet's revocation list as of now."""
        return revocation_list_pem(self._ca, self._ca_key, self._ledger.revoked(self._now_ns() // 10**9))

    def _life(self, life: datetime.timedelta) -> tuple[datetime.datetime, datetime.datetime]:
        now = datetime.datetime.fromtimestamp(self._now_ns() / 1e9, tz=datetime.timezone.utc)
        return now - _CLOCK_SKEW, now + life


def own_names() -> tuple[str, ...]:
    """Names under which this machine reaches itself."""
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", socket.gethostname())))


def open_authority(
    folder: Path,
    fleet_id: str,
    now_ns: Callable[[], int] = time.time_ns,
    device_life_s: float = DEVICE_CERTIFICATE_LIFE_S,
) -> X509Authority:
    """The authority kept in ``folder`` (0700, files 0600); made there on first use.

    Raises:
        InvalidInputError: the folder belongs to another fleet.
        PermanentError: its files cannot be read or do not belong together.
    """
    check_id(fleet_id, "fleet id")
    open_private_folder(folder)
    try:
        ca_key_pem = read_or_create(folder / "ca.key", lambda: certificates.key_pem(certificates.make_key()))
        ca_key = load_pem_private_key(ca_key_pem, None)
        if not isinstance(ca_key, EllipticCurvePrivateKey):
            raise PermanentError(f"expected a P-256 key in {folder / 'ca.key'}, found another kind")
        ca_pem = read_or_create(
            folder / "ca.pem", lambda: certificates.make_ca(ca_key, fleet_id).public_bytes(Encoding.PEM)
        )
        ca = x509.load_pem_x509_certificate(ca_pem)
        signing_key = load_pem_private_key(read_or_create(folder / "signing.key", _make_signing_key), None)
    except ValueError as error:
        raise PermanentError(f"expected PEM files in {folder}, found: {error}; restore them from a backup") from error
    if not isinstance(signing_key, Ed25519PrivateKey):
        raise PermanentError(f"expected an Ed25519 key in {folder / 'signing.key'}, found another kind")
    if ca.public_key() != ca_key.public_key():
        raise PermanentError(f"expected ca.pem and ca.key in {folder} to belong together, found different keys")
    if certificates.read_uri(ca) != f"muster://{fleet_id}":
        raise InvalidInputError(f"expected the CA of fleet {fleet_id} in {folder}, found another fleet's")
    ledger = CertificateLedger(folder / "issued", now_ns() // 10**9)
    return X509Authority(fleet_id, ca, ca_key, signing_key, now_ns, device_life_s, ledger)


def _make_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
