"""Which blocks of an artifact to ask for next, and in which order they are handed on. Pure: time comes in.

Up to ``MAX_BLOCKS_OUTSTANDING`` blocks are under way. The number begins at one, grows with each block that comes and
falls to one when none comes for ``timeout_s``, as TCP's window does (RFC 5681, 3.1); what was under way then is asked
for again, and the time-out doubles until a block arrives. It falls by one with each block that has waited behind others
for longer than ``_QUEUE_S`` (as in TCP Vegas): more under way would bring nothing sooner on a slow network, and hold up
everything else that the controller says.
"""

from __future__ import annotations

from muster_protos.errors import TemporaryError
from muster_protos.limits import BLOCK_BYTES, MAX_BLOCKS_OUTSTANDING
from muster_protos.model import Chunk

_ANSWER_TIMES = 2.0  # a block that takes longer than twice the slowest so far is late
_MAX_TIMEOUT_S = 60.0
_QUEUE_S = 4.0


class BlockWindow:
    """The blocks from ``offset`` to the end of one artifact."""

    def __init__(self, offset: int, timeout_s: float, now_s: float) -> None:
        self.progressed_s = now_s  # when a block came last
        self._base_timeout_s = timeout_s
        self._timeout_s = timeout_s
        self._moved_s = now_s  # when a block came, or all were asked for again
        self._slowest_s = 0.0
        self._quickest_s = float("inf")
        self._following = offset  # the next byte to hand on
        self._unasked = offset
        self._total_bytes: int | None = None
        self._limit = 1
        self._asked_s: dict[int, float] = {}  # under way, by offset: when it was asked for first
        self._lost: dict[int, float] = {}  # to be asked for again
        self._early: dict[int, Chunk] = {}

    @property
    def is_complete(self) -> bool:
        """Everything was handed on."""
        return self._total_bytes is not None and self._following >= self._total_bytes

    def due(self, now_s: float) -> tuple[int, ...]:
        """Offsets to ask for now."""
        if self._asked_s and now_s - self._moved_s > self._timeout_s:
            self._lost.update(self._asked_s)
            self._asked_s.clear()
            self._limit = 1
            self._timeout_s = min(2 * self._timeout_s, _MAX_TIMEOUT_S)
            self._moved_s = now_s
        asked = []
        while not self._asked_s or len(self._asked_s) + len(self._early) < self._limit:
            offset = self._next()
            if offset is None:
                break
            self._asked_s[offset] = self._lost.pop(offset, now_s)
            asked.append(offset)
        if asked and len(asked) == len(self._asked_s):
            self._moved_s = now_s  # nothing was under way before
        return tuple(asked)

    def take(self, chunk: Chunk, now_s: float) -> tuple[Chunk, ...]:
        """The chunks that may be handed on now; none when it came before.

        Raises:
            TemporaryError: it is not the block that was asked for.
        """
        asked_s = self._asked_s.pop(chunk.offset, None)
        if asked_s is None:
            asked_s = self._lost.pop(chunk.offset, None)
        if asked_s is None:
            return ()
        self._check(chunk)
        self.progressed_s = self._moved_s = now_s
        self._answered(now_s - asked_s)
        self._early[chunk.offset] = chunk
        ready = []
        while (following := self._early.pop(self._following, None)) is not None:
            ready.append(following)
            self._following += len(following.data)
            if not following.data:
                break
        return tuple(ready)

    def _answered(self, answer_s: float) -> None:
        self._slowest_s = max(self._slowest_s, answer_s)
        self._quickest_s = min(self._quickest_s, answer_s)
        self._timeout_s = max(self._base_timeout_s, _ANSWER_TIMES * self._slowest_s)
        if answer_s - self._quickest_s > _QUEUE_S:
            self._limit = max(1, self._limit - 1)
        else:
            self._limit = min(self._limit + 1, MAX_BLOCKS_OUTSTANDING)

    def _next(self) -> int | None:
        if self._lost:
            return min(self._lost)
        if self._total_bytes is None:
            return None if self._asked_s else self._unasked
        if self._unasked >= self._total_bytes:
            return None
        offset = self._unasked
        self._unasked += BLOCK_BYTES
        return offset

    def _check(self, chunk: Chunk) -> None:
        if self._total_bytes is None:
            self._total_bytes = chunk.total_bytes
            self._unasked += BLOCK_BYTES
        expected = min(BLOCK_BYTES, self._total_bytes - chunk.offset)
        if chunk.total_bytes != self._total_bytes or len(chunk.data) != expected:
            raise TemporaryError(
                f"expected {expected} bytes at {chunk.offset} of {self._total_bytes}, "
                f"found {len(chunk.data)} of {chunk.total_bytes}"
            )
