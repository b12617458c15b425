"""The Link port over MQTT: one thread dials, talks and comes back; ``fetch`` and ``renew`` run in the caller's."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from muster_agent.adapters.link_mqtt.conversation import Conversation, Session
from muster_agent.adapters.link_mqtt.fetch import fetch_blocks, renew
from muster_agent.adapters.link_mqtt.timing import LinkTiming
from muster_agent.address import host_and_port
from muster_agent.ports import LinkSink
from muster_agent.reconnect import End, Reconnect
from muster_agent.redial import Redial
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError, UnreachableError
from muster_protos.model import AgentMessage, Chunk, Goodbye, RenewResponse
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will
from muster_protos.mqtt.topics import DeviceTopics

DEFAULT_PORT = 8883
_FAREWELL_S = 1.5


@dataclass(frozen=True, slots=True)
class _Leaving:
    """We end the connection, at the latest at ``by_s`` (monotonic)."""

    reason: str
    by_s: float


class MqttLink:
    """The Link port. ``read_credentials`` is asked before every connection, so a renewed certificate is taken up."""

    name = "mqtt"
    is_proven = False  # whoever runs the broker can speak for the controller

    def __init__(
        self,
        url: str,
        fleet_id: str,
        device_id: str,
        read_credentials: Callable[[], Credentials],
        timing: LinkTiming = LinkTiming(),  # noqa: B008 - frozen
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``url``: ``mqtts://HOST[:PORT]``; the broker's certificate must name HOST.

        Raises:
            InvalidInputError: not such a URL, or not ids.
        """
        host, port = host_and_port(url, "mqtts", DEFAULT_PORT)
        self._topics = DeviceTopics(fleet_id, device_id)
        self._endpoint = Endpoint(host, port, device_id)
        self._read_credentials = read_credentials
        self._timing = timing
        self._draw = draw
        redial = Redial(timing.retry_base_s, timing.retry_cap_s, draw)
        self._reconnect = Reconnect(f"{host}:{port}", redial, rest_s=timing.removal_rest_s)
        self._run_id = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._leaving: _Leaving | None = None
        self._connection: BrokerConnection | None = None
        self._conversation: Conversation | None = None
        self._thread: threading.Thread | None = None

    def start(self, sink: LinkSink) -> None:
        """Connect in a thread of its own; again and again until ``close`` or revocation."""
        run = self._reconnect.run
        self._thread = threading.Thread(target=run, args=(self._hold_connection, sink), name="link-mqtt", daemon=True)
        self._thread.start()

    def send(self, message: AgentMessage) -> bool:
        """Hand over a message without blocking; False when there is no session or its queue is full.

        Raises:
            InvalidInputError: the message is larger than any link carries; sending it again will not help.
        """
        conversation = self._conversation
        session = conversation.session if conversation is not None else None
        return session is not None and session.outbox.push(message)

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        """Stream an artifact from ``offset`` to its end; at least one chunk comes, empty when nothing is left.

        Raises:
            TemporaryError: the link broke or stalls; what arrived stays, call again with a higher offset.
            NotFoundError: the controller does not have it, or not for this device; final.
            InvalidInputError: ``offset`` is not within the artifact.
            InterruptedError: ``stop`` was set.
        """
        fetch_blocks(self._session().calls, sha256, offset, on_chunk, stop, self._timing)

    def renew(self, csr_pem: bytes) -> RenewResponse:
        """Fresh certificates for the holder of the same key, and today's signing keys."""
        return renew(self._session().calls, csr_pem, self._timing)

    def reconnect(self, reason: str) -> None:
        """End the session, if there is one, and come back with the credentials of now. Returns at once."""
        self._leave(reason)  # first: a connection that begins now is not meant
        self._reconnect.hurry()

    def close(self) -> None:
        """Say goodbye and stop; safe to call twice, from any thread."""
        if not self._reconnect.closing.is_set():
            self._reconnect.close()
            self._leave("the agent stops")
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * _FAREWELL_S)

    def _hold_connection(self, sink: LinkSink) -> End:
        """One connection from dial to end."""
        timing = self._timing
        conversation = Conversation(self._topics, self._run_id, sink, timing, self._draw, self._wake, time.monotonic())
        keepalive_s = max(1, round((timing.keepalive_time_s + timing.keepalive_timeout_s) / 2))
        connection = BrokerConnection(
            self._endpoint,
            Patience(keepalive_s, timing.connect_timeout_s),
            Will(self._topics.presence, conversation.will()),
            lambda topic, payload, _: conversation.received(topic, payload, time.monotonic()),
        )
        end = End("the agent stops")
        is_clean = False
        with self._lock:  # or a wish to close that comes just now would be forgotten
            if not self._reconnect.closing.is_set():
                self._leaving = None
        try:
            connection.open(self._read_credentials(), self._topics.subscriptions())
            with self._lock:
                self._connection, self._conversation = connection, conversation
            conversation.attach(connection)
            end = self._talk(connection, conversation, sink)
            conversation.finish(end.reason)
            self._part(connection, conversation)
            is_clean = True
        except MusterError as error:
            end = conversation.end or End(str(error))
        finally:
            with self._lock:
                self._connection = self._conversation = None
            conversation.finish(end.reason)
            connection.close(is_clean)
        if not conversation.was_welcomed and not self._reconnect.closing.is_set():
            self._reconnect.failed(end.reason, sink)
        return end

    def _talk(self, connection: BrokerConnection, conversation: Conversation, sink: LinkSink) -> End:
        """Until a reason to part."""
        while conversation.end is None:
            now_s = time.monotonic()
            conversation.step(now_s)
            if conversation.end is not None:
                break
            if conversation.was_welcomed:
                self._reconnect.succeeded()
            elif conversation.is_waiting(now_s):
                self._reconnect.failed("expected a controller behind the broker, found none", sink)
            leaving = self._leaving
            if leaving is not None and (leaving.by_s < now_s or _has_said_all(leaving, connection, conversation)):
                return End(leaving.reason)
            connection.turn(conversation.next_look_s(now_s))
        return conversation.end

    def _leave(self, reason: str) -> None:
        """Have the link's thread say goodbye, and end this connection."""
        with self._lock:
            self._leaving = _Leaving(reason, time.monotonic() + _FAREWELL_S)
        self._wake()

    def _part(self, connection: BrokerConnection, conversation: Conversation) -> None:
        """Leave the broker with a word."""
        conversation.announce(is_online=False)
        connection.settle(time.monotonic() + _FAREWELL_S)

    def _session(self) -> Session:
        conversation = self._conversation
        session = conversation.session if conversation is not None else None
        if session is None:
            raise UnreachableError(
                f"expected a session by {self._endpoint.host}:{self._endpoint.port}, found none; "
                "it reconnects by itself"
            )
        return session

    def _wake(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.wake()


def _has_said_all(leaving: _Leaving, connection: BrokerConnection, conversation: Conversation) -> bool:
    """Whether the goodbye, and everything before it, is with the broker."""
    session = conversation.session
    if session is None:
        return True
    if not session.outbox.is_closed:
        session.outbox.push(AgentMessage(Goodbye(leaving.reason)))
        session.outbox.close()
        return False
    return session.outbox.is_drained and connection.is_settled
