"""Numbered messages of one session: each once, in order.

MQTT promises order within a topic only, delivers twice when in doubt, and a broker may drop what a peer is too slow to
take. Numbers mend the first two and reveal the third.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from muster_protos.errors import InvalidInputError

T = TypeVar("T")


class InOrder(Generic[T]):
    """What comes early waits for its turn; at most ``max_waiting`` messages of ``max_bytes`` together do."""

    def __init__(self, max_waiting: int, max_bytes: int) -> None:
        self.taken = 0  # everything up to this number has come
        self.gap_since_s: float | None = None  # when a number was first missed that has not come yet
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: dict[int, tuple[T, int]] = {}
        self._waiting_bytes = 0

    def take(self, sequence: int, item: T, size_bytes: int, now_s: float) -> tuple[T, ...]:
        """The messages whose turn it is now; none when ``sequence`` came before or too early.

        Raises:
            InvalidInputError: it is no number of this session, or too much has come before its turn.
        """
        if not 1 <= sequence <= self.taken + self._max_waiting:
            raise InvalidInputError(f"expected message {self.taken + 1} of the session, found {sequence}")
        if sequence <= self.taken or sequence in self._waiting:
            return ()
        if sequence > self.taken + 1 and self._waiting_bytes + size_bytes > self._max_bytes:
            raise InvalidInputError(f"expected message {self.taken + 1} of the session, found too much after it")
        self._waiting[sequence] = (item, size_bytes)
        self._waiting_bytes += size_bytes
        ready = []
        while self.taken + 1 in self._waiting:
            self.taken += 1
            following, following_bytes = self._waiting.pop(self.taken)
            self._waiting_bytes -= following_bytes
            ready.append(following)
        if not self._waiting:
            self.gap_since_s = None
        elif ready or self.gap_since_s is None:
            self.gap_since_s = now_s
        return tuple(ready)
