"""One live stream, as the service sees it: a bounded outbox that any thread may fill."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from google.protobuf.message import Message

from muster_protos import codec
from muster_protos.limits import MAX_CONTROLLER_MESSAGE_BYTES, check_size
from muster_protos.model import ControllerMessage, Desired, Goodbye


class StreamSession:
    """The DeviceSession port. An unsent desired state is replaced by a newer one; acknowledgements keep their order."""

    link = "grpc"

    def __init__(self, device_id: str, loop: asyncio.AbstractEventLoop, max_messages: int, address: str = "") -> None:
        self.device_id = device_id
        self.address = address  # "192.0.2.7:40112"
        self.close_reason = ""
        self.ended = asyncio.Event()  # after the sink has heard of its end
        self.on_closing: Callable[[], None] = lambda: None
        self._loop = loop
        self._max_messages = max_messages
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self._desired: Message | None = None
        self._goodbye: Message | None = None
        self._filled = asyncio.Event()

    def send(self, message: ControllerMessage) -> None:
        """Queue a message; never blocks. A desired state replaces an unsent older one.

        Raises:
            InvalidInputError: the message is larger than a link carries.
        """
        wire = codec.to_message(message)
        check_size(wire.ByteSize(), MAX_CONTROLLER_MESSAGE_BYTES, "message to a device")
        with self._lock:
            if self._goodbye is not None:
                return
            if isinstance(message.body, Desired):
                self._desired = wire
            else:
                self._waiting.append(wire)
            is_flooded = len(self._waiting) > self._max_messages
        if is_flooded:
            self.close("expected the device to read what it is sent, found it too slow")
        self._call_soon(self._filled.set)

    def close(self, reason: str, is_revoked: bool = False, retry_after_ms: int = 0) -> None:
        """Send what waits and a goodbye, then end the stream. From any thread; the first reason counts."""
        with self._lock:
            if self._goodbye is not None:
                return
            self.close_reason = reason
            goodbye = ControllerMessage(Goodbye(reason, is_revoked, retry_after_ms))
            self._goodbye = codec.to_message(goodbye)
            if is_revoked:
                self._waiting.clear()
                self._desired = None
        self._call_soon(self._filled.set)
        self._call_soon(self.on_closing)

    async def next_message(self) -> tuple[Message, bool]:
        """(message, True when it is the last one); waits for it."""
        while True:
            with self._lock:
                self._filled.clear()
                if self._waiting:
                    return self._waiting.popleft(), False
                if self._desired is not None:
                    desired, self._desired = self._desired, None
                    return desired, False
                if self._goodbye is not None:
                    return self._goodbye, True
            await self._filled.wait()

    def _call_soon(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)
