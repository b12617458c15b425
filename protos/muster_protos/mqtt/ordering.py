"""Numbered messages of one session: each once, in order.

MQTT promises order within a topic only, delivers twice when in doubt, and a broker may drop what a peer is too slow to
take. Numbers mend the first two and reveal the third.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from muster_protos.errors import InvalidInputError

T = TypeVar("T")


class InOrder(Generic[T]):
    """What comes early waits for its turn; at most ``max_waiting`` messages do."""

    def __init__(self, max_waiting: int) -> None:
        self.taken = 0  # everything up to this number has come
        self.gap_since_s: float | None = None  # when a number was first missed that has not come yet
        self._max_waiting = max_waiting
        self._waiting: dict[int, T] = {}

    def take(self, sequence: int, item: T, now_s: float) -> tuple[T, ...]:
        """The messages whose turn it is now; none when ``sequence`` came before or too early.

        Raises:
            InvalidInputError: it is no number of this session, or too far ahead.
        """
        if not 1 <= sequence <= self.taken + self._max_waiting:
            raise InvalidInputError(f"expected message {self.taken + 1} of the session, found {sequence}")
        if sequence <= self.taken:
            return ()
        self._waiting.setdefault(sequence, item)
        ready = []
        while self.taken + 1 in self._waiting:
            self.taken += 1
            ready.append(self._waiting.pop(self.taken))
        if not self._waiting:
            self.gap_since_s = None
        elif ready or self.gap_since_s is None:
            self.gap_since_s = now_s
        return tuple(ready)
