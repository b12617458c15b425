"""The controller at a broker: one thread holds the connection, threads of a pool talk to the service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from google.protobuf.message import DecodeError

from muster_controller.adapters.link_mqtt.blocks import Answers
from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.lane import Greeted, Item, Lane, Lost, Said
from muster_controller.adapters.link_mqtt.options import LinkOptions
from muster_controller.adapters.link_mqtt.outgoing import Outgoing, Packet
from muster_controller.adapters.link_mqtt.session import BrokerSession
from muster_controller.adapters.link_mqtt.strangers import Answer, Strangers, desks
from muster_controller.adapters.link_mqtt.twins import Twins
from muster_controller.ports import Authenticator, SessionSink
from muster_protos import codec
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import CodecError, InvalidInputError, MusterError, UnreachableError
from muster_protos.ids import check_id
from muster_protos.limits import FRAMING_BYTES, MAX_AGENT_MESSAGE_BYTES, check_size
from muster_protos.model import (
    BlockRequest,
    ControllerMessage,
    DownMessage,
    Goodbye,
    Greeting,
    LinkPresence,
    RenewCall,
)
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will
from muster_protos.mqtt.topics import (
    PRESENCE,
    REPORTED,
    DeviceTopics,
    Down,
    Up,
    controller_presence,
    controller_subscriptions,
    parse_from_device,
)
from muster_protos.v1 import link_pb2

_THREADS = 16
_LOOK_S = 0.25  # lost devices and gaps are looked at this often
_SWEEP_S = 5.0
_STOPPED_RETRY_MS = 1_000
_ENDS_S = 2.0  # for the sink to hear of the last sessions' ends
_RETRY_AFTER_GAP_MS = 1_000
_MAX_ID_CHARACTERS = 64

_log = logging.getLogger(__name__)


class MqttLink:
    """One connection to a broker; sessions of all devices over it. Reconnects and announces itself by itself.

    Who a device is follows from the topic that it writes to, which the broker guarantees, and from the Authenticator.
    """

    def __init__(
        self,
        sink: SessionSink,
        authenticator: Authenticator,
        fleet_id: str,
        host: str,
        port: int,
        read_credentials: Callable[[], Credentials],
        options: LinkOptions = LinkOptions(),  # noqa: B008 - frozen
        principal: str = CONTROLLER,
        answer_join: Answer | None = None,
        answer_door: Answer | None = None,
    ) -> None:
        """``read_credentials``: the controller's own certificate at the broker, asked before every connection;
        ``principal``: its common name, by which the broker knows the controller. ``answer_join`` and
        ``answer_door``: for joins over it, and for renewals of certificates that have run out.
        """
        self.sink = sink
        self.authenticator = authenticator
        self.options = options
        self.drops = Drops()
        self.twins = Twins(options.twin_retry_s)
        self._fleet_id = check_id(fleet_id, "fleet id")
        self._endpoint = Endpoint(host, port, principal)
        self._read_credentials = read_credentials
        self._presence = controller_presence(fleet_id)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="link-mqtt")
        self._outgoing = Outgoing(self._wake)
        stands = desks(answer_join, answer_door)
        self._strangers = Strangers(fleet_id, stands, self._outgoing.post, self.drops)
        self._answers = Answers(sink, fleet_id, self._outgoing, self.drops, options.unsent_blocks)
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}  # the link's thread adds and removes
        self._lost: deque[tuple[float, str, str]] = deque()  # (when to say so, device id, connection id)
        self._to_forget: set[str] = set()
        self._connection: BrokerConnection | None = None
        self._connection_id = ""
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._stop_by_s = float("inf")
        self._began: Future[None] = Future()
        self._last_reason = ""

    async def start(self) -> None:
        """Connect and announce this controller; later the link reconnects by itself.

        Raises:
            UnreachableError: no broker answers there.
            NotAuthorisedError: it refuses this controller, or is not the broker of this fleet.
        """
        self._thread = threading.Thread(target=self._run, name="link-mqtt", daemon=True)
        self._thread.start()
        try:
            await asyncio.wrap_future(self._began)
        except MusterError:
            await self.stop(0.0)
            raise

    async def stop(self, grace_s: float = 2.0) -> None:
        """Say goodbye to every device, wait up to ``grace_s`` seconds, leave the broker. Safe to call twice."""
        thread = self._thread
        if thread is None:
            return
        if not self._stopping.is_set():
            self._stop_by_s = time.monotonic() + grace_s
            self._stopping.set()
        self._wake()
        await asyncio.to_thread(thread.join, grace_s + _ENDS_S)  # it may be dialling
        self._answers.close()
        self._strangers.close()
        deadline_s = time.monotonic() + max(grace_s, _ENDS_S)
        while any(not lane.is_idle for lane in tuple(self._lanes.values())) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)  # the sink hears of every end
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def problem(self) -> str:
        """Why there is no connection to the broker; "" when there is one."""
        with self._lock:
            return "" if self._connection is not None else self._last_reason or "not connected yet"

    def forget(self, device_id: str) -> None:
        """Clear what the broker retains of a removed device. From any thread; also while it is offline."""
        with self._lock:
            self._to_forget.add(device_id)
        self._wake()

    # ---- what lanes need ----

    def submit(self, call: Callable[[], None]) -> None:
        """Run it in the pool."""
        with contextlib.suppress(RuntimeError):  # the link has stopped
            self._pool.submit(call)

    def make_session(self, device_id: str, greeted: Greeted) -> BrokerSession:
        topics = DeviceTopics(self._fleet_id, device_id)
        return BrokerSession(
            topics,
            greeted.session_id,
            greeted.greeting,
            self.options.outbox_messages,
            self._outgoing.add,
            self._said_goodbye,
        )

    def refuse(self, device_id: str, session_id: str, goodbye: Goodbye) -> None:
        """Tell a device that it has no session."""
        topic = DeviceTopics(self._fleet_id, device_id).down(Down.GOODBYE)
        message = DownMessage(session_id, body=ControllerMessage(goodbye))
        self._outgoing.post(Packet(topic, codec.encode(message)))

    # ---- the link's thread ----

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._hold_connection()
            except MusterError as error:
                self._note_failure(error)
            except Exception as error:  # noqa: BLE001 - a loop's top: the link outlives a fault of one connection
                _log.exception("the connection to the broker failed")
                self._note_failure(UnreachableError(f"{type(error).__name__}: {error}"))
            failures = 0 if self._connection_id else failures  # whoever was connected dials again at once
            ceiling_s = min(self.options.retry_cap_s, self.options.retry_base_s * float(1 << min(failures, 20)))
            failures += 1
            self._connection_id = ""
            self._stopping.wait(ceiling_s * random.random())

    def _hold_connection(self) -> None:
        """One connection from dial to end."""
        options, connection_id = self.options, secrets.token_hex(8)
        connection = BrokerConnection(
            self._endpoint,
            Patience(options.keepalive_s, options.connect_timeout_s, options.window_messages),
            Will(self._presence, codec.encode(LinkPresence(connection_id))),
            self._received,
        )
        is_clean = False
        try:
            self._connection_id = ""
            connection.open(self._read_credentials(), controller_subscriptions(self._fleet_id))
            with self._lock:
                self._connection, self._connection_id = connection, connection_id
            self._announce(connection, is_online=True)
            self._last_reason = ""
            if not self._began.done():
                self._began.set_result(None)
            self._serve(connection)
            self._part(connection)
            is_clean = True
        finally:
            with self._lock:
                self._connection = None
            self._end_all("the controller stops" if is_clean else "the connection to the broker broke")
            self._outgoing.clear()
            connection.close(is_clean)

    def _serve(self, connection: BrokerConnection) -> None:
        swept_s = time.monotonic()
        while not self._stopping.is_set():
            connection.turn(_LOOK_S)
            now_s = time.monotonic()
            self._pump(connection)
            self._look(now_s)
            if now_s - swept_s > _SWEEP_S:
                swept_s = now_s
                self._sweep(now_s)

    def _part(self, connection: BrokerConnection) -> None:
        """Goodbyes to all, then the controller's own."""
        for lane in tuple(self._lanes.values()):
            if lane.session is not None:
                lane.session.close("the controller stops", retry_after_ms=_STOPPED_RETRY_MS)
        while any(lane.session is not None for lane in self._lanes.values()) and time.monotonic() < self._stop_by_s:
            self._pump(connection)
            connection.turn(0.02)
        self._pump(connection)
        self._announce(connection, is_online=False)
        connection.settle(max(self._stop_by_s, time.monotonic() + 0.5))

    def _announce(self, connection: BrokerConnection, is_online: bool) -> None:
        presence = LinkPresence(self._connection_id, is_online)
        connection.publish(self._presence, codec.encode(presence), qos=1, retain=True)

    def _pump(self, connection: BrokerConnection) -> None:
        with self._lock:
            forgotten, self._to_forget = self._to_forget, set()
        for device_id in forgotten:
            topics = DeviceTopics(self._fleet_id, device_id)
            for topic in (topics.desired, topics.reported, topics.presence):
                self._outgoing.post(Packet(topic, b"", is_retained=True))
        while connection.has_room and (packets := self._outgoing.next_packets()):
            for packet in packets:
                connection.publish(packet.topic, packet.payload, packet.qos, packet.is_retained)
                if packet.on_done is not None:
                    packet.on_done()

    def _look(self, now_s: float) -> None:
        """Tell lanes of devices that were lost and did not come back."""
        while self._lost and self._lost[0][0] <= now_s:
            _, device_id, connection_id = self._lost.popleft()
            if device_id in self._lanes:
                self._lanes[device_id].post(Lost(connection_id, "the connection broke"))

    def _sweep(self, now_s: float) -> None:
        for lane in tuple(self._lanes.values()):
            session = lane.session
            if session is not None and lane.has_gap(now_s):
                session.close("a message was lost on the way; greet again", retry_after_ms=_RETRY_AFTER_GAP_MS)
            elif lane.is_idle:
                del self._lanes[lane.device_id]

    def _end_all(self, reason: str) -> None:
        self._lost.clear()
        for lane in self._lanes.values():
            lane.post(Lost("", reason))

    def _said_goodbye(self, session: BrokerSession) -> None:
        lane = self._lanes.get(session.device_id)
        if lane is not None:
            lane.post(Lost(session.greeting.connection_id, session.close_reason))

    def _received(self, topic: str, payload: bytes, is_retained: bool) -> None:
        if topic == self._presence:
            return  # our own
        if not is_retained and self._strangers.take(topic, payload):
            return
        device_id = ""
        try:
            found = parse_from_device(topic, self._fleet_id)
            device_id = found.device_id
            check_size(len(payload), MAX_AGENT_MESSAGE_BYTES + FRAMING_BYTES, "message of a device")
            if found.kind == PRESENCE:
                self._see(device_id, payload)
            elif not is_retained:
                self._take(device_id, found.kind, payload)
        except InvalidInputError as error:
            self.drops.note(device_id, error, time.monotonic())

    def _see(self, device_id: str, payload: bytes) -> None:
        """A device came or went; one that greets is heard of otherwise."""
        lane = self._lanes.get(device_id)
        if lane is None or not payload:
            return
        presence = codec.decode(LinkPresence, payload)
        _check_own_id(presence.connection_id, "connection id")
        if not presence.is_online:
            self._lost.append((time.monotonic() + self.options.settle_s, device_id, presence.connection_id))

    def _take(self, device_id: str, kind: Up | str, payload: bytes) -> None:
        if not payload:
            return  # what ``forget`` cleared
        wire = _parse(payload, kind)
        match wire.WhichOneof("body"):
            case "greeting":
                greeting = codec.from_message(Greeting, wire.greeting)
                _check_own_id(greeting.connection_id, "connection id")
                _check_own_id(greeting.run_id, "run id")
                if greeting.controller_connection_id == self._connection_id:
                    self._post(device_id, Greeted(wire.session_id, greeting))
            case "agent_message":
                self._post(device_id, Said(wire, len(payload)))
            case _:
                self._ask(device_id, wire)

    def _ask(self, device_id: str, wire: Any) -> None:
        lane = self._lanes.get(device_id)
        session = lane.session if lane is not None else None
        if session is None or session.session_id != wire.session_id or session.is_over:
            return
        if wire.WhichOneof("body") == "block_request":
            self._answers.block(session, codec.from_message(BlockRequest, wire.block_request))
        else:
            self._answers.renewal(session, codec.from_message(RenewCall, wire.renew_call))

    def _post(self, device_id: str, item: Item) -> None:
        lane = self._lanes.get(device_id)
        if lane is None:
            lane = self._lanes[device_id] = Lane(device_id, self)
        if lane.post(item) or not isinstance(item, Said):
            return
        self.drops.note(device_id, "it sends more than it was allowed ahead", time.monotonic())
        session = lane.session
        if session is not None and item.wire.sequence:
            session.close("expected the device to wait for the controller, found it does not", retry_after_ms=5_000)

    def _note_failure(self, error: MusterError) -> None:
        """Log why there is no connection: once per reason. The first one is told to whoever started the link."""
        if not self._began.done():
            self._began.set_exception(error)
        reason = str(error)
        if reason != self._last_reason and not self._stopping.is_set():
            _log.warning("no broker at %s:%d: %s; trying on", self._endpoint.host, self._endpoint.port, reason)
        self._last_reason = reason

    def _wake(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.wake()


def _check_own_id(text: str, what: str) -> None:
    """Of the numbers that an agent draws for itself."""
    if not 0 < len(text) <= _MAX_ID_CHARACTERS or not text.isalnum():
        raise InvalidInputError(f"expected a {what}, found none")


def _parse(payload: bytes, kind: Up | str) -> Any:
    """The UpMessage in ``payload``; what it says must be what its topic is for."""
    wire = link_pb2.UpMessage()
    try:
        wire.ParseFromString(payload)
    except DecodeError as error:
        raise CodecError(f"expected an UpMessage, found {len(payload)} bytes that do not parse") from error
    _check_own_id(wire.session_id, "session id")
    body = wire.WhichOneof("body")
    said = wire.agent_message.WhichOneof("body") or kind if body == "agent_message" else body
    if said != kind and said != _BODIES.get(kind, kind.value if isinstance(kind, Up) else kind):
        raise InvalidInputError(f"expected another message on this topic, found {said}")
    return wire


_BODIES: dict[Up | str, str] = {REPORTED: "reported_state", Up.FETCH: "block_request", Up.RENEW: "renew_call"}
