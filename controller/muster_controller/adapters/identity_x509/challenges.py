"""One-time numbers that a device signs to prove its key, without a table that strangers could fill.

A challenge carries its own end and a MAC, so handing one out stores nothing; only challenges that came back with a good
proof are remembered, until their end. The MAC's key is the process's own: a restart ends every challenge, replayed ones
too. Replicas behind one address would have to share it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable

from muster_protos.errors import NotAuthorisedError

LIFE_S = 120.0
_NONCE_BYTES = 16
_TIME_BYTES = 8
_BODY_BYTES = _TIME_BYTES + _NONCE_BYTES


class Challenges:
    """Thread-safe."""

    def __init__(self, now_ns: Callable[[], int], life_s: float = LIFE_S) -> None:
        self._now_ns = now_ns
        self._life_ns = int(life_s * 1e9)
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._spent: dict[bytes, int] = {}  # challenge -> its end

    def new(self) -> bytes:
        """56 bytes that are good for one proof within the life."""
        body = (self._now_ns() + self._life_ns).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_NONCE_BYTES)
        return body + self._mac(body)

    def check(self, challenge: bytes) -> None:
        """Raises:
        NotAuthorisedError: not ours, or over.
        """
        body, mac = challenge[:_BODY_BYTES], challenge[_BODY_BYTES:]
        if len(body) != _BODY_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            raise NotAuthorisedError("expected a challenge of this controller, found another; ask for one again")
        if int.from_bytes(body[:_TIME_BYTES], "big") <= self._now_ns():
            raise NotAuthorisedError("expected a challenge of the last two minutes, found an older one; ask again")

    def spend(self, challenge: bytes) -> None:
        """Use it up, after its proof was found good.

        Raises:
            NotAuthorisedError: it has been used before, or as ``check``.
        """
        self.check(challenge)
        now_ns = self._now_ns()
        with self._lock:
            self._spent = {known: end_ns for known, end_ns in self._spent.items() if end_ns > now_ns}
            if challenge in self._spent:
                raise NotAuthorisedError("expected a challenge that was not used before, found a replayed request")
            self._spent[challenge] = int.from_bytes(challenge[:_TIME_BYTES], "big")

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()
