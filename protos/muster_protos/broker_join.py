"""What both ends of a join over a broker agree on: names, proofs, and the claim that lets a stranger in.

The secret of a join link never travels. From it follow a name at the broker, a key pair for the connection and a key
for proofs; the controller, which keeps the secret's sha256 alone, knows the name and the proofs' key, but not the pair.
The certificate of that pair, the *claim*, is not in the link either: both ends build the same one, and the link carries
the CA's signature. docs/adr/0012-join-over-a-broker.md says why.

``cryptography`` is imported by ``claim_certificate`` and ``sign_claim`` alone; the agent calls the former in a child.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from muster_protos.broker_names import JOINING_PREFIX, topic_root
from muster_protos.errors import InvalidInputError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

NONCE_BYTES = 16
ASK = b"muster join ask"
ANSWER = b"muster join answer"
_SIGNATURE_BYTES = 64  # r and s of P-256, 32 each
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2, 2.4.2
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # AlgorithmIdentifier, RFC 5758, 3.2


def secret_sha256(secret: str) -> str:
    """What the controller keeps of a join secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def claim_name(token_sha256: str) -> str:
    """Who the holder of a join link is at the broker."""
    return JOINING_PREFIX + hashlib.sha256(b"muster claim name\0" + token_sha256.encode()).hexdigest()[:24]


def ask_topic(fleet_id: str, name: str) -> str:
    return f"{topic_root(fleet_id)}/{name}/up/join"


def answer_topic(fleet_id: str, name: str) -> str:
    return f"{topic_root(fleet_id)}/{name}/down/joined"


def prove(token_sha256: str, purpose: bytes, nonce: bytes, content: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) that only who knows the secret, or its sha256, can make."""
    key = hashlib.sha256(b"muster join proof\0" + token_sha256.encode()).digest()
    message = b"".join(len(part).to_bytes(8, "big") + part for part in (purpose, nonce, content))
    return hmac.digest(key, message, "sha256")


def is_proof(proof: bytes, token_sha256: str, purpose: bytes, nonce: bytes, content: bytes) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(proof, prove(token_sha256, purpose, nonce, content))


def ca_common_name(fleet_id: str) -> str:
    """How the fleet's CA is called in its certificate."""
    return f"muster fleet {fleet_id}"[:64]


def sign_claim(secret: str, fleet_id: str, ends_s: int, ca_key: EllipticCurvePrivateKey) -> str:
    """The CA's signature under the claim, for the link: 86 characters."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    r, s = decode_dss_signature(_claim(secret, fleet_id, ends_s).sign(ca_key, SHA256()).signature)
    return base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode().rstrip("=")


def claim_certificate(secret: str, fleet_id: str, ends_s: int, signature: str) -> tuple[bytes, bytes]:
    """(certificate PEM, key PEM) of the claim, put together from what the link says.

    Raises:
        InvalidInputError: the signature is not one.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    try:
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != _SIGNATURE_BYTES:
        raise InvalidInputError("expected a signature of 86 characters at the end of the join link, found another form")
    key = _claim_key(secret)
    signed = _claim(secret, fleet_id, ends_s).sign(key, SHA256()).tbs_certificate_bytes  # the signature is replaced
    der_signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    certificate = _der(0x30, signed + _ECDSA_WITH_SHA256 + _der(0x03, b"\0" + der_signature))
    body = base64.encodebytes(certificate).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    return pem.encode(), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _claim_key(secret: str) -> EllipticCurvePrivateKey:
    """The pair that follows from the secret: 512 bits reduced, so that the bias is none (FIPS 186-5, A.2.1)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    drawn = int.from_bytes(hashlib.sha512(b"muster claim key\0" + secret.encode()).digest(), "big")
    return ec.derive_private_key(drawn % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def _claim(secret: str, fleet_id: str, ends_s: int) -> x509.CertificateBuilder:
    """The same at both ends, to the byte: DER leaves no choice (RFC 5280, 4.1)."""
    import datetime

    from cryptography import x509
    from cryptography.x509.oid import NameOID

    token_sha256 = secret_sha256(secret)
    serial = hashlib.sha256(b"muster claim serial\0" + token_sha256.encode()).digest()[:16]

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .issuer_name(name(ca_common_name(fleet_id)))
        .subject_name(name(claim_name(token_sha256)))
        .public_key(_claim_key(secret).public_key())
        .serial_number(int.from_bytes(b"\1" + serial, "big"))
        .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc))
        .not_valid_after(datetime.datetime.fromtimestamp(ends_s, tz=datetime.timezone.utc))
    )


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content
