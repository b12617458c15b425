"""What waits to be sent in one session: bounded, and only lossy messages are ever dropped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from muster_protos import codec
from muster_protos.limits import MAX_AGENT_MESSAGE_BYTES, check_size
from muster_protos.model import AgentMessage, Goodbye, Progress, ReportedState, Telemetry

MAX_MESSAGES = 1024
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Waiting:
    wire: Message
    size_bytes: int
    is_lossy: bool
    is_state: bool


class Outbox:
    """Filled by any thread, emptied by the link's.

    When it is full, the oldest telemetry or progress makes room; a report that finds none is refused. An unsent
    reported state is replaced by a newer one.
    """

    def __init__(
        self,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_change`` is called after a message was taken in or the outbox was closed, by the thread that did so."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._on_change = on_change

    @property
    def is_closed(self) -> bool:
        """It takes nothing more."""
        return self._is_closed

    @property
    def is_drained(self) -> bool:
        """It is closed, and nothing waits any more."""
        with self._changed:
            return self._is_closed and not self._waiting

    def push(self, message: AgentMessage) -> bool:
        """Queue a message; False when it is closed or full.

        Raises:
            InvalidInputError: the message is larger than any link carries.
        """
        wire = codec.to_message(message)
        size_bytes = wire.ByteSize()
        check_size(size_bytes, MAX_AGENT_MESSAGE_BYTES, "message to the controller")
        body = message.body
        item = _Waiting(wire, size_bytes, isinstance(body, Telemetry | Progress), isinstance(body, ReportedState))
        with self._changed:
            if self._is_closed:
                return False
            if item.is_state:
                self._drop_state()
            while not self._has_room(size_bytes) and not isinstance(body, Goodbye):
                if not self._drop_oldest_lossy():
                    return False
            self._waiting.append(item)
            self._waiting_bytes += size_bytes
            self._changed.notify()
        self._on_change()
        return True

    def take(self) -> Message | None:
        """The next message, waiting for it; None when it is closed and empty."""
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            return self.poll()

    def poll(self) -> Message | None:
        """The next message; None when there is none now."""
        with self._changed:
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._waiting_bytes -= item.size_bytes
            return item.wire

    def close(self) -> None:
        """Take nothing more; what waits may still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._on_change()

    def clear(self) -> None:
        """Forget what waits: the session is over, and the daemon sends it again in the next one."""
        with self._changed:
            self._waiting.clear()
            self._waiting_bytes = 0

    def _has_room(self, size_bytes: int) -> bool:
        return len(self._waiting) < self._max_messages and self._waiting_bytes + size_bytes <= self._max_bytes

    def _drop_oldest_lossy(self) -> bool:
        for index, waiting in enumerate(self._waiting):
            if waiting.is_lossy:
                self._drop(index)
                return True
        return False

    def _drop_state(self) -> None:
        for index, waiting in enumerate(self._waiting):
            if waiting.is_state:
                self._drop(index)
                return

    def _drop(self, index: int) -> None:
        self._waiting_bytes -= self._waiting[index].size_bytes
        del self._waiting[index]
