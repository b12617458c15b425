"""Everything of one device, one after the other, in a thread of the link's: greetings, messages, ends.

A lane is filled by the link's thread only, and emptied by one thread of the pool at a time. What a device may have
waiting here is bounded by what the agent promises to send ahead (``muster_protos.limits``), with room for its doubles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.options import LinkOptions
from muster_controller.adapters.link_mqtt.session import BrokerSession
from muster_controller.adapters.link_mqtt.twins import Twins
from muster_controller.ports import Authenticator, DeviceRevokedError, SessionSink
from muster_protos import codec
from muster_protos.errors import CodecError, InvalidInputError, MusterError, TemporaryError
from muster_protos.limits import MAX_AGENT_MESSAGE_BYTES, MAX_UNTAKEN_BYTES, MAX_UNTAKEN_MESSAGES
from muster_protos.model import AgentMessage, Goodbye, Greeting
from muster_protos.mqtt.ordering import InOrder

_MAX_WAITING = 4 * MAX_UNTAKEN_MESSAGES  # telemetry comes on top
_MAX_WAITING_BYTES = 2 * (MAX_UNTAKEN_BYTES + MAX_AGENT_MESSAGE_BYTES)
_MAX_LOST = 64  # a device that says without end that it was lost
_RETRY_AFTER_FAULT_MS = 5_000
_SEND_OFF_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Greeted:
    """The device asks for a session."""

    session_id: str
    greeting: Greeting


@dataclass(frozen=True, slots=True)
class Said:
    """An UpMessage with an AgentMessage in it, as it came."""

    wire: Any
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The device's connection to the broker is over, or (empty) ours is, or the goodbye to it has gone out."""

    connection_id: str
    reason: str


Item = Greeted | Said | Lost


class Surroundings(Protocol):
    """What a lane needs of the link."""

    sink: SessionSink
    authenticator: Authenticator
    options: LinkOptions
    drops: Drops
    twins: Twins

    def submit(self, call: Callable[[], None]) -> None: ...
    def make_session(self, device_id: str, greeted: Greeted) -> BrokerSession: ...
    def refuse(self, device_id: str, session_id: str, goodbye: Goodbye) -> None: ...
    def forget(self, device_id: str) -> None: ...


class Lane:
    """One device's."""

    def __init__(self, device_id: str, around: Surroundings) -> None:
        self.device_id = device_id
        self.session: BrokerSession | None = None  # as the sink knows it
        self._around = around
        self._incoming: InOrder[Any] = _in_order()
        self._lock = threading.Lock()
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._is_running = False
        self._sent_off_s = -_SEND_OFF_S

    @property
    def is_idle(self) -> bool:
        """Nothing is known here that is not known elsewhere."""
        with self._lock:
            return self.session is None and not self._waiting and not self._is_running

    def has_gap(self, now_s: float) -> bool:
        """A message of the session has been missing for too long."""
        since_s = self._incoming.gap_since_s
        return self.session is not None and since_s is not None and now_s - since_s > self._around.options.gap_s

    def post(self, item: Item) -> bool:
        """Queue it; False when the device has more here than it may have."""
        with self._lock:
            match item:
                case Said(size_bytes=size_bytes):
                    if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes + size_bytes > _MAX_WAITING_BYTES:
                        return False
                    self._waiting_bytes += size_bytes
                case Lost(connection_id=connection_id) if connection_id:
                    if sum(isinstance(each, Lost) for each in self._waiting) >= _MAX_LOST:
                        return False
                case Greeted():
                    self._waiting = deque(each for each in self._waiting if not isinstance(each, Greeted))
            self._waiting.append(item)
            if self._is_running:
                return True
            self._is_running = True
        self._around.submit(self._run)
        return True

    def _run(self) -> None:
        """One batch, so that lanes take turns in the pool."""
        batch = self._next_batch()
        try:
            said = [item for item in batch if isinstance(item, Said)]
            if said:
                self._take(said)
            for item in batch:
                match item:
                    case Greeted():
                        self._greet(item)
                    case Lost(connection_id=connection_id, reason=reason):
                        self._end(connection_id, reason)
        except Exception:  # noqa: BLE001 - a loop's top: the device must not hang on a fault of ours
            _log.exception("messages of device %s were not taken", self.device_id)
            if self.session is not None:
                self.session.close("the controller failed; try again", retry_after_ms=_RETRY_AFTER_FAULT_MS)
        with self._lock:
            self._is_running = bool(self._waiting)
            if not self._is_running:
                return
        self._around.submit(self._run)

    def _next_batch(self) -> list[Item]:
        """Messages up to the next event, or one event."""
        batch: list[Item] = []
        with self._lock:
            while self._waiting and len(batch) < self._around.options.batch_messages:
                item = self._waiting[0]
                if batch and not isinstance(item, Said):
                    break
                batch.append(self._waiting.popleft())
                if not isinstance(item, Said):
                    break
                self._waiting_bytes -= item.size_bytes
        return batch

    def _greet(self, greeted: Greeted) -> None:
        session = self.session
        if session is not None and session.session_id == greeted.session_id:
            return  # delivered twice
        goodbye = self._refusal(greeted.greeting)
        if goodbye is not None:
            self._around.refuse(self.device_id, greeted.session_id, goodbye)
            return
        self._give_place(greeted.greeting)
        session = self._around.make_session(self.device_id, greeted)
        self.session = session
        try:
            self._around.sink.session_opened(session)
        except Exception:  # noqa: BLE001 - one session's fault stays its own
            _log.exception("the session of device %s failed", self.device_id)
            session.close("the controller failed; try again", retry_after_ms=_RETRY_AFTER_FAULT_MS)
            return
        session.welcome()

    def _refusal(self, greeting: Greeting) -> Goodbye | None:
        """Why the device gets no session."""
        try:
            self._around.authenticator.authenticate_device(self.device_id)
        except DeviceRevokedError as error:
            self._around.forget(self.device_id)
            return Goodbye(str(error), is_revoked=True)
        except TemporaryError as error:
            return Goodbye(str(error), retry_after_ms=round((error.retry_after_s or 0.0) * 1e3))
        except MusterError as error:
            _log.warning("device %s was refused: %s", self.device_id, error)
            return Goodbye(str(error))
        away_s = self._around.twins.stay_away_s(self.device_id, greeting.run_id, time.monotonic())
        if away_s > 0:
            return Goodbye("a newer session of this device took over", retry_after_ms=round(away_s * 1e3))
        return None

    def _give_place(self, greeting: Greeting) -> None:
        """One session per device: the older one ends, and the sink hears so, before the newer one begins."""
        older = self.session
        if older is None:
            return
        if older.greeting.run_id == greeting.run_id:
            self._end("", "the connection broke")
            return
        self._around.twins.replaced(self.device_id, older.greeting.run_id, time.monotonic())
        self._end("", "a newer session of this device took over")

    def _end(self, connection_id: str, reason: str) -> None:
        """End the session, if it is one of that connection ("" = whichever there is)."""
        session = self.session
        if session is None or connection_id not in ("", session.greeting.connection_id):
            return
        session.break_off(reason)
        try:
            self._around.sink.session_closed(session, session.close_reason)
        except Exception:  # noqa: BLE001 - the session is over all the same
            _log.exception("the end of device %s's session was not taken", self.device_id)
        self.session = None
        self._incoming = _in_order()
        if session.is_revoked:
            self._around.forget(self.device_id)

    def _take(self, batch: Sequence[Said]) -> None:
        """Hand over the messages of the live session, in order; a goodbye ends it."""
        session = self.session
        messages: list[AgentMessage] = []
        is_over = False
        for item in batch:
            if session is None or item.wire.session_id != session.session_id:
                self._send_off(item.wire.session_id)
                continue
            for wire in self._ordered(session, item):
                message = self._decode(wire)
                if isinstance(message.body, Goodbye):
                    is_over = True
                elif message.body is not None and not is_over:
                    messages.append(message)
        if session is None:
            return
        if messages:
            self._around.sink.messages_received(session, messages)
        session.took(self._incoming.taken)
        if is_over:
            self._end("", "the agent said goodbye")

    def _send_off(self, session_id: str) -> None:
        """A session that this controller does not know has to begin again; said at most once a second."""
        now_s = time.monotonic()
        if now_s - self._sent_off_s > _SEND_OFF_S:
            self._sent_off_s = now_s
            self._around.refuse(self.device_id, session_id, Goodbye("the session is over; greet again"))

    def _ordered(self, session: BrokerSession, item: Said) -> tuple[Any, ...]:
        if not item.wire.sequence:
            return (item.wire,)
        try:
            return self._incoming.take(item.wire.sequence, item.wire, item.size_bytes, time.monotonic())
        except InvalidInputError as error:
            self._around.drops.note(self.device_id, error, time.monotonic())
            session.close(str(error), retry_after_ms=_RETRY_AFTER_FAULT_MS)
            return ()

    def _decode(self, wire: Any) -> AgentMessage:
        try:
            return codec.from_message(AgentMessage, wire.agent_message)
        except CodecError as error:
            self._around.drops.note(self.device_id, error, time.monotonic())
            return AgentMessage()


def _in_order() -> InOrder[Any]:
    return InOrder(2 * MAX_UNTAKEN_MESSAGES, _MAX_WAITING_BYTES)
