"""The bytes that a signature covers, and the port that checks it.

A signature never covers bare payload bytes: the payload type is part of it, so that a signed manifest can never pass
for a signed desired state (domain separation as in DSSE, https://github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from muster_protos.model import SignedEnvelope

DESIRED_STATE = "muster.v1.DesiredState"
VARIANT_MANIFEST = "muster.v1.VariantManifest"
SIGNING_KEY_SET = "muster.v1.SigningKeySet"


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """What Ed25519 signs: ``muster-v1`` NUL type NUL payload."""
    return b"\0".join((b"muster-v1", payload_type.encode(), payload))


class Signer(Protocol):
    """Signs with the fleet's key."""

    def sign(self, payload_type: str, payload: bytes) -> SignedEnvelope:
        """Wrap ``payload`` verbatim with one signature."""
        ...


class Verifier(Protocol):
    """Checks envelopes against the signing keys pinned at the join."""

    def verify(self, envelopes: Sequence[SignedEnvelope]) -> None:
        """Return when every envelope bears a good signature of a pinned key.

        Raises:
            NotAuthorisedError: one does not; the message names its payload type and key id.
        """
        ...
