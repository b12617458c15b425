"""What is said over one connection to the broker: greet, be welcomed, talk, part. Driven by the link's thread.

Rules:
- a session begins when the controller welcomes the id that this end drew, and ends with a goodbye of either side, with
  the controller's presence, or with the connection;
- a controller with a new connection knows nothing of older sessions: it is greeted again, over the same connection;
- everything but telemetry, progress and blocks is numbered; a number that stays away ends the session;
- at most ``MAX_UNTAKEN_MESSAGES`` are on their way that the controller has not taken: no queue between overflows.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Protocol

from muster_agent.adapters.link_mqtt.calls import Calls
from muster_agent.adapters.link_mqtt.timing import LinkTiming
from muster_agent.outbox import Outbox
from muster_agent.ports import LinkSink
from muster_agent.reconnect import End, pause_s
from muster_protos import codec
from muster_protos.errors import CodecError, InvalidInputError
from muster_protos.limits import MAX_CONTROLLER_MESSAGE_BYTES, MAX_UNTAKEN_BYTES, MAX_UNTAKEN_MESSAGES
from muster_protos.model import (
    Block,
    BlockRequest,
    ControllerMessage,
    Desired,
    DownMessage,
    Goodbye,
    Greeting,
    LinkPresence,
    Refusal,
    RenewAnswer,
    UpMessage,
    Welcome,
)
from muster_protos.mqtt.ordering import InOrder
from muster_protos.mqtt.topics import LOSSY, DeviceTopics, Up, controller_presence
from muster_protos.v1 import link_pb2

_MAX_EARLY = 1024  # numbered messages of the controller that wait for one before them
_GAP_S = 10.0  # then a message was lost on the way
_FRESH_S = 1.0
_LONG_S = 60.0
_STABLE_SESSION_S = 10.0  # a shorter one was a failure: back off, over a new connection

_log = logging.getLogger(__name__)


class Wire(Protocol):
    """The connection, as far as it is needed here."""

    @property
    def has_room(self) -> bool: ...
    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> None: ...


class Session:
    """From welcome to end."""

    def __init__(self, session_id: str, wake: Callable[[], None], now_s: float) -> None:
        self.session_id = session_id
        self.began_s = now_s
        self.outbox = Outbox(on_change=wake)
        self.calls = Calls(wake)
        self.incoming: InOrder[ControllerMessage] = InOrder(_MAX_EARLY, MAX_CONTROLLER_MESSAGE_BYTES)
        self.sent = 0
        self.taken = 0
        self._untaken: deque[int] = deque()  # bytes of each, oldest first
        self._moved_s = 0.0

    def may_send(self) -> bool:
        """Whether the controller has taken enough for one more numbered message."""
        return len(self._untaken) < MAX_UNTAKEN_MESSAGES and sum(self._untaken) < MAX_UNTAKEN_BYTES

    def number(self, size_bytes: int, now_s: float) -> int:
        """The number of the next message that must arrive."""
        self.sent += 1
        if not self._untaken:
            self._moved_s = now_s
        self._untaken.append(size_bytes)
        return self.sent

    def took(self, sequence: int, now_s: float) -> None:
        """The controller has said something; it has taken everything up to ``sequence``."""
        self._moved_s = now_s  # on a slow network its word waits behind blocks, and those come
        while self.taken < min(sequence, self.sent):
            self.taken += 1
            self._untaken.popleft()

    def untaken_s(self, now_s: float) -> float:
        """For how long the controller has said nothing while it was to take something, seconds."""
        return now_s - self._moved_s if self._untaken else 0.0


class Conversation:
    """Belongs to the link's thread, except what ``session`` offers other threads."""

    def __init__(
        self,
        topics: DeviceTopics,
        run_id: str,
        sink: LinkSink,
        timing: LinkTiming,
        draw: Callable[[], float],
        wake: Callable[[], None],
        now_s: float,
    ) -> None:
        self.connection_id = secrets.token_hex(8)
        self.session: Session | None = None  # once the controller has welcomed it
        self.end: End | None = None  # the connection has to end too
        self.was_welcomed = False
        self._wire: Wire | None = None
        self._topics = topics
        self._run_id = run_id
        self._sink = sink
        self._timing = timing
        self._draw = draw
        self._wake = wake
        self._controller_id = ""  # its connection; "" = it is not there
        self._greeted_id = ""  # the session that was asked for last
        self._greet_at_s: float | None = None
        self._answer_by_s: float | None = None
        self._desired: bytes | None = None  # retained, not handed over yet
        self._handed_sha256 = b""  # of the desired state that this session has got last
        self._begun_s = now_s

    def is_waiting(self, now_s: float) -> bool:
        """The controller is not at the broker; nothing can be done about it here."""
        return not self._controller_id and now_s - self._begun_s > _FRESH_S

    def attach(self, wire: Wire) -> None:
        """The connection is open and subscribed."""
        self._wire = wire
        self.announce(is_online=True)

    def will(self) -> bytes:
        """What the broker says when the connection is lost."""
        return codec.encode(LinkPresence(self.connection_id))

    def announce(self, is_online: bool) -> None:
        """Publish the device's own presence."""
        presence = LinkPresence(self.connection_id, is_online)
        self._publish(self._topics.presence, codec.encode(presence), qos=1, retain=True)

    def received(self, topic: str, payload: bytes, now_s: float) -> None:
        """A message of the broker. What does not parse is dropped."""
        try:
            if topic == controller_presence(self._topics.fleet_id):
                self._see_controller(codec.decode(LinkPresence, payload), now_s)
            elif topic == self._topics.desired:
                self._desired = payload or None
                self._hand_over_desired()
            else:
                self._take(codec.decode(DownMessage, payload), len(payload), now_s)
        except CodecError as error:
            _log.warning("a message on %s was dropped: %s", topic, error)

    def next_look_s(self, now_s: float) -> float:
        """How long nothing happens unless somebody says something, seconds."""
        times = [each for each in (self._greet_at_s, self._answer_by_s) if each is not None]
        if self.session is not None and self.session.incoming.gap_since_s is not None:
            times.append(self.session.incoming.gap_since_s + _GAP_S)
        return max(0.0, min(times) - now_s) if times else _LONG_S

    def step(self, now_s: float) -> None:
        """Do what is due: greet, send, notice what stays away."""
        if self._greet_at_s is not None and now_s >= self._greet_at_s:
            self._greet(now_s)
        if self._answer_by_s is not None and now_s >= self._answer_by_s:
            self.end = End(
                f"expected a welcome of the controller within {self._timing.connect_timeout_s:g} s, found none"
            )
        session = self.session
        if session is not None:
            gap_since_s = session.incoming.gap_since_s
            if gap_since_s is not None and now_s - gap_since_s > _GAP_S:
                self.end = End("a message of the controller was lost on the way")
            if session.untaken_s(now_s) > self._timing.stall_timeout_s:
                self.end = End("the controller takes nothing of what it is sent")
            self._send(session, now_s)

    def finish(self, reason: str) -> None:
        """The session, if there is one, is over."""
        session, self.session = self.session, None
        self._greeted_id = ""
        self._greet_at_s = self._answer_by_s = None
        if session is None:
            return
        session.outbox.clear()
        session.outbox.close()
        session.calls.break_off(reason)
        self._sink.offline(reason)

    def _see_controller(self, presence: LinkPresence, now_s: float) -> None:
        if presence.is_online and presence.connection_id != self._controller_id:
            is_found = not self._controller_id and now_s - self._begun_s < _FRESH_S
            self.finish("the controller was started again, or lost the broker")
            self._controller_id = presence.connection_id
            # What was there before us nobody else sees now; a controller that comes is seen by the whole fleet at once.
            self._greet_at_s = now_s if is_found else now_s + self._timing.retry_base_s * self._draw()
        elif not presence.is_online and presence.connection_id in ("", self._controller_id):
            self._controller_id = ""
            self.finish("the controller has left the broker")

    def _greet(self, now_s: float) -> None:
        self._greet_at_s = None
        self._greeted_id = secrets.token_hex(8)
        self._answer_by_s = now_s + self._timing.connect_timeout_s
        greeting = Greeting(self.connection_id, self._controller_id, self._run_id)
        self._say(Up.GREETING, UpMessage(self._greeted_id, body=greeting))

    def _take(self, message: DownMessage, size_bytes: int, now_s: float) -> None:
        if not self._greeted_id or message.session_id != self._greeted_id:
            return  # of a session that is over
        session = self.session
        if session is not None:
            session.took(message.taken_sequence, now_s)
        match message.body:
            case Welcome() if session is None:
                self._open(now_s)
            case ControllerMessage() as body if session is not None and message.sequence:
                self._take_numbered(session, message.sequence, body, size_bytes, now_s)
            case ControllerMessage(body=Goodbye() as goodbye):
                self._part(goodbye, now_s)
            case (Block() | RenewAnswer() | Refusal()) as answer if session is not None:
                session.calls.answered(answer)

    def _take_numbered(
        self, session: Session, sequence: int, body: ControllerMessage, size_bytes: int, now_s: float
    ) -> None:
        try:
            ready = session.incoming.take(sequence, body, size_bytes, now_s)
        except InvalidInputError as error:
            self.end = End(str(error))
            return
        for message in ready:
            if isinstance(message.body, Goodbye):
                self._part(message.body, now_s)
                return
            if message.body is not None:
                self._sink.received(message)

    def _part(self, goodbye: Goodbye, now_s: float) -> None:
        """A session that lasted is over and the connection stays: a fleet need not dial again for a restart."""
        self._sink.received(ControllerMessage(goodbye))
        if self.session is None or goodbye.is_revoked or now_s - self.session.began_s < _STABLE_SESSION_S:
            self.end = End(goodbye.reason, goodbye)
            return
        self.finish(goodbye.reason)
        self._greet_at_s = now_s + pause_s(goodbye) + self._timing.retry_base_s * self._draw()

    def _open(self, now_s: float) -> None:
        self._answer_by_s = None
        self.was_welcomed = True
        self._handed_sha256 = b""
        self.session = Session(self._greeted_id, self._wake, now_s)
        self._sink.online()
        self._hand_over_desired()

    def _hand_over_desired(self) -> None:
        payload = self._desired
        if self.session is None or payload is None:
            return
        self._desired = None
        sha256 = hashlib.sha256(payload).digest()
        if sha256 == self._handed_sha256:
            return  # the retained copy of what came already, or delivered twice
        message = codec.decode(ControllerMessage, payload)
        if isinstance(message.body, Desired):
            self._handed_sha256 = sha256
            self._sink.received(message)

    def _send(self, session: Session, now_s: float) -> None:
        while self._wire is not None and self._wire.has_room:
            question = session.calls.next_question()
            if question is not None:
                kind = Up.FETCH if isinstance(question, BlockRequest) else Up.RENEW
                self._say(kind, UpMessage(session.session_id, body=question))
            elif not self._send_message(session, now_s):
                return

    def _send_message(self, session: Session, now_s: float) -> bool:
        wire = session.outbox.poll() if session.may_send() else None
        if wire is None:
            return False
        kind = wire.WhichOneof("body")
        up = None if kind == "reported_state" else Up(kind)
        is_numbered = up not in LOSSY
        message = link_pb2.UpMessage(session_id=session.session_id)
        if is_numbered:
            message.sequence = session.number(wire.ByteSize(), now_s)
        message.agent_message.MergeFrom(wire)  # type: ignore[arg-type]
        topic = self._topics.reported if up is None else self._topics.up(up)
        self._publish(topic, message.SerializeToString(), qos=1 if is_numbered else 0, retain=up is None)
        return True

    def _say(self, kind: Up, message: UpMessage) -> None:
        self._publish(self._topics.up(kind), codec.encode(message), qos=1)

    def _publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> None:
        assert self._wire is not None, "nothing is said before the connection is open"
        self._wire.publish(topic, payload, qos, retain)
