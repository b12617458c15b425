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
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from muster_controller.adapters.identity_x509 import certificates
from muster_controller.adapters.identity_x509.challenges import Challenges
from muster_controller.adapters.identity_x509.folder import open_private_folder, read_or_create
from muster_controller.adapters.identity_x509.key_ring import KeyRing
from muster_controller.adapters.identity_x509.ledger import CertificateLedger
from muster_controller.adapters.identity_x509.revocation import revocation_list_pem
from muster_controller.core.join_rules import GRACE_S
from muster_protos.broker_door import door_name
from muster_protos.broker_join import ca_common_name, sign_claim
from muster_protos.errors import InvalidInputError, NotAuthorisedError, PermanentError
from muster_protos.ids import check_id
from muster_protos.model import SignedEnvelope, SigningKey, SigningKeySet

DEVICE_CERTIFICATE_LIFE_S = 7 * 24 * 3600
_CLOCK_SKEW = datetime.timedelta(hours=1)  # between the replicas of one controller; at most a tenth of a life


class X509Authority:
    """Issues and revokes certificates with the fleet's CA and signs with its Ed25519 key. Thread-safe."""

    def __init__(
        self,
        fleet_id: str,
        ca: x509.Certificate,
        ca_key: EllipticCurvePrivateKey,
        ring: KeyRing,
        now_ns: Callable[[], int] = time.time_ns,
        device_life_s: float = DEVICE_CERTIFICATE_LIFE_S,
        ledger: CertificateLedger | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self.fleet_id = fleet_id
        self._ring = ring
        self._challenges = Challenges(now_ns)
        self._ca = ca
        self._ca_key = ca_key
        self._now_ns = now_ns
        self._device_life = datetime.timedelta(seconds=device_life_s)
        self._door_life = datetime.timedelta(seconds=device_life_s + grace_s)
        self._ledger = CertificateLedger() if ledger is None else ledger

    def ca_pem(self) -> bytes:
        """The CA certificate."""
        return self._ca.public_bytes(Encoding.PEM)

    def ca_fingerprint(self) -> str:
        """sha256 over the CA certificate's DER, lower-case hex."""
        return hashlib.sha256(self._ca.public_bytes(Encoding.DER)).hexdigest()

    @property
    def signer(self) -> KeyRing:
        """Signs with every key in force."""
        return self._ring

    @property
    def verifier(self) -> KeyRing:
        """Believes every key in force."""
        return self._ring

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The public keys that devices pin, the one that signs today first."""
        return self._ring.in_force()

    def key_set(self) -> SigningKeySet:
        """The newest set of signing keys."""
        return self._ring.key_set

    def key_sets(self) -> tuple[SignedEnvelope, ...]:
        """Every set after the first, oldest first, each signed by the key before it."""
        return self._ring.chain

    def is_signed_today(self, envelope: SignedEnvelope) -> bool:
        """Whether today's key is among the signatures, by its name."""
        return self._ring.is_signed_today(envelope)

    def rotate_signing_key(self, overlap_s: float) -> SigningKeySet:
        """Sign with a new key from now on; ConflictError when too many are in force."""
        return self._ring.rotate(overlap_s)

    def new_challenge(self) -> bytes:
        """A number for a device to sign, good once and for two minutes."""
        return self._challenges.new()

    def check_renewal(self, certificate_pem: bytes, csr_pem: bytes) -> tuple[str, int]:
        """(device id, end of the certificate in ns) of whoever asks with an old certificate and a signed challenge.

        Raises:
            InvalidInputError: the request is malformed.
            NotAuthorisedError: the certificate is not this fleet's, the key is another, or the challenge is not good.
        """
        device_id, ended_ns, key_sha256 = certificates.read_own_device(self._ca, self.fleet_id, certificate_pem)
        if certificates.spki_sha256(certificates.read_csr_key(csr_pem)) != key_sha256:
            raise NotAuthorisedError(f"expected a request by the key of device {device_id}, found another key")
        self._challenges.spend(certificates.read_csr_challenge(csr_pem))
        return device_id, ended_ns

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
        self._note(device_id, certificate)
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

    def issue_door_certificate(self, csr_pem: bytes, device_id: str) -> bytes:
        """A certificate (PEM) for a device's key, good for asking for a renewal at a broker and no more.

        It has no device's URI, so no link and no endpoint knows it. It ends when a certificate that is issued now is
        renewed no more, and is revoked with the device's others.
        """
        key = certificates.read_csr_key(csr_pem)
        life = (certificates.BEGINNING, self._life(self._door_life)[1])
        certificate = certificates.make_client(self._ca, self._ca_key, key, door_name(device_id), life)
        self._note(device_id, certificate)
        return certificate.public_bytes(Encoding.PEM)

    def sign_claim(self, secret: str, ends_s: int) -> str:
        """The CA's signature under the claim with which the holder of a join link gets to a broker."""
        if self._ca.subject.rfc4514_string() != f"CN={ca_common_name(self.fleet_id)}":
            raise PermanentError("expected a CA that is called after its fleet, found another: no join over a broker")
        return sign_claim(secret, self.fleet_id, ends_s, self._ca_key)

    def revoke_certificates(self, device_id: str) -> None:
        """Put everything that was issued to the device so far on the revocation list."""
        self._ledger.revoke(device_id, self._now_ns() // 10**9)

    def revocation_list_pem(self) -> bytes:
        """The fleet's revocation list as of now."""
        return revocation_list_pem(self._ca, self._ca_key, self._ledger.revoked(self._now_ns() // 10**9))

    def _note(self, device_id: str, certificate: x509.Certificate) -> None:
        """Remember a certificate before it is handed out."""
        ends_s = int(certificate.not_valid_after_utc.timestamp()) + 1
        self._ledger.issued(device_id, certificate.serial_number, ends_s, self._now_ns() // 10**9)

    def _life(self, life: datetime.timedelta) -> tuple[datetime.datetime, datetime.datetime]:
        now = datetime.datetime.fromtimestamp(self._now_ns() / 1e9, tz=datetime.timezone.utc)
        return now - min(_CLOCK_SKEW, life / 10), now + life


def own_names() -> tuple[str, ...]:
    """Names under which this machine reaches itself."""
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", socket.gethostname())))


def open_authority(
    folder: Path,
    fleet_id: str,
    now_ns: Callable[[], int] = time.time_ns,
    device_life_s: float = DEVICE_CERTIFICATE_LIFE_S,
    grace_s: float = GRACE_S,
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
    except ValueError as error:
        raise PermanentError(f"expected PEM files in {folder}, found: {error}; restore them from a backup") from error
    if ca.public_key() != ca_key.public_key():
        raise PermanentError(f"expected ca.pem and ca.key in {folder} to belong together, found different keys")
    if certificates.read_uri(ca) != f"muster://{fleet_id}":
        raise InvalidInputError(f"expected the CA of fleet {fleet_id} in {folder}, found another fleet's")
    ledger = CertificateLedger(folder / "issued", now_ns() // 10**9)
    ring = KeyRing(folder, fleet_id, now_ns)
    return X509Authority(fleet_id, ca, ca_key, ring, now_ns, device_life_s, ledger, grace_s)
