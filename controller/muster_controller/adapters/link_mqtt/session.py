"""One live session of a device at the broker, as the service sees it: a bounded outbox that any thread may fill."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from muster_controller.adapters.link_mqtt.outgoing import Packet
from muster_protos import codec
from muster_protos.limits import MAX_CONTROLLER_MESSAGE_BYTES, check_size
from muster_protos.model import (
    ControllerMessage,
    Desired,
    DownMessage,
    Goodbye,
    Greeting,
    Welcome,
)
from muster_protos.mqtt.topics import DeviceTopics, Down


class BrokerSession:
    """The DeviceSession port. An unsent desired state is replaced by a newer one; acknowledgements keep their order."""

    link = "mqtt"

    def __init__(
        self,
        topics: DeviceTopics,
        session_id: str,
        greeting: Greeting,
        max_messages: int,
        on_filled: Callable[[BrokerSession], None],
        on_ended: Callable[[BrokerSession], None],
    ) -> None:
        self.device_id = topics.device_id
        self.session_id = session_id
        self.greeting = greeting
        self.close_reason = ""
        self.is_revoked = False
        self._topics = topics
        self._max_messages = max_messages
        self._on_filled = on_filled
        self._on_ended = on_ended
        self._lock = threading.Lock()
        self._waiting: deque[ControllerMessage] = deque()
        self._desired: bytes | None = None
        self._goodbye: Goodbye | None = None
        self._is_welcome_due = False
        self._is_open = False
        self._is_over = False  # nothing more is said
        self._sent = 0
        self._taken = 0
        self._taken_told = 0

    def send(self, message: ControllerMessage) -> None:
        """Queue a message; never blocks. A desired state replaces an unsent older one.

        Raises:
            InvalidInputError: the message is larger than a link carries.
        """
        payload = codec.encode(message)
        check_size(len(payload), MAX_CONTROLLER_MESSAGE_BYTES, "message to a device")
        with self._lock:
            if self._goodbye is not None or self._is_over:
                return
            if isinstance(message.body, Desired):
                self._desired = payload
            else:
                self._waiting.append(message)
            is_flooded = len(self._waiting) > self._max_messages
        if is_flooded:
            self.close("expected the device to read what it is sent, found it too slow")
        self._on_filled(self)

    def close(self, reason: str, is_revoked: bool = False, retry_after_ms: int = 0) -> None:
        """Send what waits and a goodbye, then end. From any thread; the first reason counts."""
        with self._lock:
            if self._goodbye is not None or self._is_over:
                return
            self.close_reason = reason
            self.is_revoked = is_revoked
            self._goodbye = Goodbye(reason, is_revoked, retry_after_ms)
            if is_revoked:
                self._waiting.clear()
                self._desired = None
        self._on_filled(self)

    def welcome(self) -> None:
        """The sink knows it: tell the device, then everything that waits."""
        with self._lock:
            self._is_open = True
            self._is_welcome_due = self._goodbye is None  # the sink may have closed it at once
        self._on_filled(self)

    def took(self, sequence: int) -> None:
        """Everything up to ``sequence`` has been handed over: the device may send more."""
        with self._lock:
            self._taken = sequence
        self._on_filled(self)

    def break_off(self, reason: str) -> None:
        """The device, or the broker, is gone: nothing waits to be sent any more."""
        with self._lock:
            self.close_reason = self.close_reason or reason
            self._is_over = True
            self._waiting.clear()
            self._desired = None

    @property
    def is_over(self) -> bool:
        """Nothing is said any more."""
        return self._is_over

    def next_packet(self) -> Packet | None:
        """What to publish next, or None until it is filled again."""
        with self._lock:
            if self._is_over or not (self._is_open or self._goodbye is not None):
                return None
            if self._is_welcome_due:
                self._is_welcome_due = False
                return self._packet(Down.WELCOME, DownMessage(self.session_id, body=Welcome()))
            if self._waiting:
                return self._numbered(self._waiting.popleft())
            if self._desired is not None:
                payload, self._desired = self._desired, None
                return Packet(self._topics.desired, payload, is_retained=True)
            if self._taken > self._taken_told:
                self._taken_told = self._taken
                return self._packet(Down.ACK, DownMessage(self.session_id, taken_sequence=self._taken))
            if self._goodbye is not None:
                self._is_over = True
                return self._numbered(ControllerMessage(self._goodbye), lambda: self._on_ended(self))
        return None

    def _numbered(self, message: ControllerMessage, on_done: Callable[[], None] | None = None) -> Packet:
        self._sent += 1
        self._taken_told = self._taken
        down = DownMessage(self.session_id, self._sent, self._taken, message)
        return self._packet(Down.GOODBYE if isinstance(message.body, Goodbye) else Down.ACK, down, on_done)

    def _packet(self, kind: Down, message: DownMessage, on_done: Callable[[], None] | None = None) -> Packet:
        return Packet(self._topics.down(kind), codec.encode(message), on_done=on_done)
