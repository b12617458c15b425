"""The Verifier port through ``python -m muster_agent.verify``, one short-lived child per batch."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from muster_protos.errors import NotAuthorisedError, TemporaryError
from muster_protos.model import SignedEnvelope, SigningKey

_TIMEOUT_S = 60.0  # an import of cryptography from a worn SD card can take ten seconds


class VerifierChild:
    """Checks envelopes against the keys that the device trusts; they are read anew for each batch.

    ``read_manifest_keys``: further keys, retired ones, that count for variant manifests and nothing else.
    """

    def __init__(
        self,
        read_keys: Callable[[], Sequence[SigningKey]],
        timeout_s: float = _TIMEOUT_S,
        read_manifest_keys: Callable[[], Sequence[SigningKey]] = tuple,
    ) -> None:
        self._read_keys = read_keys
        self._read_manifest_keys = read_manifest_keys
        self._timeout_s = timeout_s

    def verify(self, envelopes: Sequence[SignedEnvelope]) -> None:
        """Return when every envelope bears a good signature of a pinned key.

        Raises:
            NotAuthorisedError: one does not; the message names its payload type.
            TemporaryError: the child died or took too long; nothing is verified.
        """
        if not envelopes:
            return
        batch = {
            "keys": [_plain_key(key) for key in self._read_keys()],
            "manifest_keys": [_plain_key(key) for key in self._read_manifest_keys()],
            "envelopes": [_plain(envelope) for envelope in envelopes],
        }
        answer = self._ask(json.dumps(batch).encode())
        if answer.get("verified") == len(envelopes):
            return
        reason, index = answer.get("reason", "no answer"), answer.get("refused", -1)
        payload_type = envelopes[index].payload_type if 0 <= index < len(envelopes) else "batch"
        raise NotAuthorisedError(f"expected a {payload_type} signed by this fleet, found: {reason}")

    def _ask(self, batch: bytes) -> dict[str, Any]:
        try:
            child = subprocess.run(
                [sys.executable, "-m", "muster_agent.verify"],
                input=batch,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
                cwd="/",  # python -m looks into the current folder first: nothing there may pass for a module
            )
        except subprocess.TimeoutExpired as error:
            raise TemporaryError(f"expected the verifier within {self._timeout_s:g} s, found no answer") from error
        except OSError as error:
            raise TemporaryError(f"expected to start the verifier, found: {error.strerror}") from error
        try:
            answer = json.loads(child.stdout)
        except ValueError:
            answer = None
        is_consistent = isinstance(answer, dict) and (child.returncode == 0) == ("verified" in answer)
        if child.returncode not in (0, 1) or not is_consistent:
            last_line = child.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
            raise TemporaryError(f"expected an answer of the verifier, found exit {child.returncode}: {last_line}")
        return dict(answer)


def _plain_key(key: SigningKey) -> dict[str, str]:
    return {"key_id": key.key_id, "public_key": _text(key.public_key)}


def _plain(envelope: SignedEnvelope) -> dict[str, Any]:
    return {
        "payload_type": envelope.payload_type,
        "payload": _text(envelope.payload),
        "signatures": [{"key_id": s.key_id, "signature": _text(s.signature)} for s in envelope.signatures],
    }


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
