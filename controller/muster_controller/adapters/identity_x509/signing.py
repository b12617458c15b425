"""Ed25519 over envelopes (RFC 8032), from ``cryptography``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from muster_protos.envelope import signed_bytes
from muster_protos.errors import NotAuthorisedError
from muster_protos.model import EnvelopeSignature, SignedEnvelope, SigningKey


def key_id_of(public_key: bytes) -> str:
    """A short name for a raw public key; a hint only, signatures decide."""
    return f"ed25519-{hashlib.sha256(public_key).hexdigest()[:16]}"


class Ed25519Signer:
    """Signs with one private key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        public_key = private_key.public_key().public_bytes_raw()
        self.signing_key = SigningKey(key_id_of(public_key), public_key)

    def private_pem(self) -> bytes:
        """PKCS #8, unencrypted: the file's mode protects it."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, payload_type: str, payload: bytes) -> SignedEnvelope:
        """Wrap ``payload`` verbatim with one signature."""
        signature = self._private_key.sign(signed_bytes(payload_type, payload))
        return SignedEnvelope(payload_type, payload, (EnvelopeSignature(self.signing_key.key_id, signature),))


class Ed25519Verifier:
    """Checks envelopes against a fixed set of public keys."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._keys = {key.key_id: Ed25519PublicKey.from_public_bytes(key.public_key) for key in keys}

    def verify(self, envelopes: Sequence[SignedEnvelope]) -> None:
        """Return when every envelope bears a good signature of a known key; else NotAuthorisedError."""
        for envelope in envelopes:
            if not any(self._is_good(envelope, signature) for signature in envelope.signatures):
                named = ", ".join(signature.key_id for signature in envelope.signatures) or "none"
                raise NotAuthorisedError(
                    f"expected a {envelope.payload_type or 'payload'} signed by this fleet, "
                    f"found no good signature (key ids: {named})"
                )

    def _is_good(self, envelope: SignedEnvelope, signature: EnvelopeSignature) -> bool:
        key = self._keys.get(signature.key_id)
        if key is None:
            return False
        try:
            key.verify(signature.signature, signed_bytes(envelope.payload_type, envelope.payload))
        except InvalidSignature:
            return False
        return True
