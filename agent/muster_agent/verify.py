"""``python -m muster_agent.verify``: a short-lived child that checks signatures; the agent never imports cryptography.

In (JSON on standard input, bytes as base64): ``{"keys": [{"key_id", "public_key"}], "manifest_keys": [as keys],
"envelopes": [{"payload_type", "payload", "signatures": [{"key_id", "signature"}]}]}``; manifest keys, which may be left
out, count for manifests only. Out (one JSON line): ``{"verified": COUNT}`` and exit 0, or
``{"refused": INDEX, "reason": TEXT}`` and exit 1. Anything else, a crash too, means: not verified.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from typing import Any, TextIO

from muster_protos.envelope import VARIANT_MANIFEST, signed_bytes

_MAX_INPUT_CHARACTERS = 256 * 1024 * 1024


def main(source: TextIO, target: TextIO) -> int:
    """Check one batch."""
    text = source.read(_MAX_INPUT_CHARACTERS + 1)
    if len(text) > _MAX_INPUT_CHARACTERS:
        return _refuse(target, -1, "expected a smaller batch")
    try:
        batch = json.loads(text)
        keys = _keys(batch["keys"])
        manifest_keys = keys | _keys(batch.get("manifest_keys", []))
        envelopes = batch["envelopes"]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        return _refuse(target, -1, f"expected a batch of envelopes and Ed25519 keys, found: {error}")
    except ImportError:
        return _refuse(target, -1, "expected the package cryptography, found none; pip install cryptography")
    for index, envelope in enumerate(envelopes):
        is_manifest = isinstance(envelope, dict) and envelope.get("payload_type") == VARIANT_MANIFEST
        if reason := _find_fault(envelope, manifest_keys if is_manifest else keys):
            return _refuse(target, index, reason)
    print(json.dumps({"verified": len(envelopes)}), file=target)
    return 0


def _keys(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {entry["key_id"]: _load(_bytes(entry["public_key"])) for entry in entries}


def _load(public_key: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public_key)


def _find_fault(envelope: dict[str, Any], keys: dict[str, Any]) -> str:
    """Why this envelope is not good, or ""; one good signature of a pinned key suffices."""
    from cryptography.exceptions import InvalidSignature

    try:
        message = signed_bytes(envelope["payload_type"], _bytes(envelope["payload"]))
        signatures = [(entry["key_id"], _bytes(entry["signature"])) for entry in envelope["signatures"]]
    except (ValueError, KeyError, TypeError, binascii.Error):
        return "the envelope is malformed"
    if not signatures:
        return "it bears no signature"
    for key_id, signature in signatures:
        if key_id not in keys:
            continue
        try:
            keys[key_id].verify(signature, message)
        except InvalidSignature:
            continue
        return ""
    named = ", ".join(key_id for key_id, _ in signatures)
    is_known = any(key_id in keys for key_id, _ in signatures)
    return f"bad signature of {named}" if is_known else f"signed by {named}, which this device does not trust"


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _refuse(target: TextIO, index: int, reason: str) -> int:
    print(json.dumps({"refused": index, "reason": reason}), file=target)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
