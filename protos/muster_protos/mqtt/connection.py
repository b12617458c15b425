"""One connection to a broker, driven by the thread that opened it: paho's protocol, our own loop.

paho's loops use ``select``, which fails from descriptor 1024 on, and start threads of their own; here ``poll`` waits,
and only ``wake`` may be called from other threads. Nothing is queued in paho: ``has_room`` says when to publish.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode

from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError, NotAuthorisedError, UnreachableError
from muster_protos.mqtt.bounded import BoundedPaho
from muster_protos.mqtt.lean_paho import client as paho
from muster_protos.mqtt.stream import BufferedStream, dial
from muster_protos.mqtt.tls import alert_words, mutual_tls
from muster_protos.mqtt.will import Will

__all__ = ["BrokerConnection", "Endpoint", "OnMessage", "Patience", "Will"]

_PACKETS_AT_ONCE = 64

_log = logging.getLogger(__name__)

OnMessage = Callable[[str, bytes, bool], None]
"""(topic, payload, True when the broker had retained it)"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which broker, and as whom. ``name`` is user name and client id; the certificate must say the same."""

    host: str
    port: int
    name: str


@dataclass(frozen=True, slots=True)
class Patience:
    """A silent broker is gone after twice ``keepalive_s``."""

    keepalive_s: int
    connect_timeout_s: float
    window: int = 20  # QoS 1 messages that the broker has not acknowledged


class BrokerConnection:
    """Opened once, closed once."""

    def __init__(self, endpoint: Endpoint, patience: Patience, will: Will, on_message: OnMessage) -> None:
        self._endpoint = endpoint
        self._patience = patience
        self._on_message = on_message
        self._unacknowledged: set[int] = set()
        self._subscribing: int | None = None
        self._is_connected = False
        self._is_broken = False
        self._refusal: MusterError | None = None
        self._trouble = ""  # what paho logged last as an error
        self._tick_s = patience.keepalive_s / 4  # paho's own clockwork has to run
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._paho = _make_paho(endpoint, patience, will)
        self._paho.on_connect = self._connected
        self._paho.on_subscribe = self._subscribed
        self._paho.on_publish = self._published
        self._paho.on_message = self._received
        self._paho.on_log = self._logged

    @property
    def has_room(self) -> bool:
        """Whether a message may be published now without queueing it."""
        stream = self._paho.stream
        is_full = stream is None or stream.is_full or self._paho.want_write()
        return len(self._unacknowledged) < self._patience.window and not is_full

    @property
    def is_settled(self) -> bool:
        """Everything published with QoS 1 is with the broker, the rest is written."""
        stream = self._paho.stream
        is_sent = stream is None or not stream.has_unsent
        return is_sent and not self._unacknowledged and not self._paho.want_write()

    def open(self, credentials: Credentials, topics: Sequence[str]) -> None:
        """Connect, wait for the broker's word, subscribe to ``topics``; blocking.

        Raises:
            UnreachableError: no broker answers there in time.
            NotAuthorisedError: it refuses this certificate, or has not the one it should have.
            PermanentError: the credentials are damaged.
        """
        self._paho.secure(mutual_tls(credentials))
        deadline_s = time.monotonic() + self._patience.connect_timeout_s
        try:
            self._paho.connect(self._endpoint.host, self._endpoint.port, self._patience.keepalive_s)
        except (OSError, ValueError) as error:
            raise _explain(error) from error
        self._turn_until(lambda: self._is_connected, deadline_s)
        result, self._subscribing = self._paho.subscribe([(topic, 1) for topic in topics])
        if result is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost()
        self._turn_until(lambda: self._subscribing is None, deadline_s)

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> None:
        """Hand a message to the broker; the thread of ``turn`` only."""
        outcome = self._paho.publish(topic, payload, qos, retain)
        if qos and outcome.rc is MQTTErrorCode.MQTT_ERR_SUCCESS and self._paho.socket() is not None:
            self._unacknowledged.add(outcome.mid)

    def turn(self, timeout_s: float) -> None:
        """Wait for the network, ``wake`` or ``timeout_s``, then do what is due.

        Raises:
            UnreachableError: the connection is over.
            NotAuthorisedError: the broker refused it.
        """
        stream = self._paho.stream
        if stream is not None and self._paho.socket() is not None:
            self._flush(stream)
            is_readable, is_writable = self._wait(stream, min(timeout_s, self._tick_s))
            if is_readable:
                self._paho.loop_read()
                for _ in range(_PACKETS_AT_ONCE):
                    if self._paho.socket() is None or not stream.pending():
                        break
                    self._paho.loop_read()
            if is_writable or self._paho.want_write():
                self._paho.loop_write()
            self._flush(stream)
            self._paho.loop_misc()
        if self._refusal is not None:
            raise self._refusal
        if self._is_broken or self._paho.socket() is None:
            raise self._lost()

    def wake(self) -> None:
        """End a ``turn`` that waits; from any thread."""
        with contextlib.suppress(OSError):  # full: it is awake; closed: it is over
            os.write(self._wake_write, b"\0")

    def settle(self, deadline_s: float) -> None:
        """Turn until the broker has everything, at most until ``deadline_s`` (monotonic). Raises as ``turn``."""
        while not self.is_settled and time.monotonic() < deadline_s:
            self.turn(deadline_s - time.monotonic())

    def close(self, is_clean: bool) -> None:
        """Leave; the will is published unless the parting ``is_clean``."""
        if is_clean:
            with contextlib.suppress(OSError, ValueError):
                self._paho.disconnect()
        self._paho.on_message = None
        connection: Any = self._paho.socket()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
        with contextlib.suppress(OSError, ValueError):
            self._paho.loop_misc()
        os.close(self._wake_read)
        write, self._wake_write = self._wake_write, -1
        os.close(write)

    def _flush(self, stream: BufferedStream) -> None:
        if self._paho.socket() is None:
            return
        try:
            stream.flush()
        except OSError as error:
            self._trouble = self._trouble or str(error)
            self._paho.loop_read()  # it may hold the broker's last word
            self._is_broken = True

    def _wait(self, stream: BufferedStream, timeout_s: float) -> tuple[bool, bool]:
        if stream.pending() or stream.fileno() < 0:
            timeout_s = 0.0
        events: dict[int, int] = {}
        if stream.fileno() >= 0:
            poll = select.poll()
            is_waiting = stream.has_unsent or self._paho.want_write()
            poll.register(stream, select.POLLIN | (select.POLLOUT if is_waiting else 0))
            poll.register(self._wake_read, select.POLLIN)
            events = dict(poll.poll(max(timeout_s, 0.0) * 1e3))
        if self._wake_read in events:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        event = events.get(stream.fileno(), 0)
        return bool(event & ~select.POLLOUT) or bool(stream.pending()), bool(event & select.POLLOUT)

    def _turn_until(self, is_true: Callable[[], bool], deadline_s: float) -> None:
        while not is_true():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                waited_s = self._patience.connect_timeout_s
                raise UnreachableError(f"expected an answer of the broker within {waited_s:g} s, found none")
            self.turn(left_s)

    def _lost(self) -> MusterError:
        if "ALERT" in self._trouble.upper():
            return _explain(self._trouble)
        if not self._is_connected:  # TLS 1.3: its alert may be lost when we write at the same moment
            return UnreachableError("the broker hung up; is this certificate expired, revoked or of another fleet?")
        if self._trouble:
            return _explain(self._trouble)
        return UnreachableError("the connection to the broker broke")

    def _connected(self, _paho: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = NotAuthorisedError(f"the broker refused the connection: {str(reason).lower()}")
        else:
            self._is_connected = True

    def _subscribed(self, _paho: Any, _data: Any, mid: int, reasons: Any, _properties: Any) -> None:
        if mid == self._subscribing:
            self._subscribing = None
        if any(reason.is_failure for reason in reasons):
            self._refusal = NotAuthorisedError("the broker refused a subscription; is it set up for this fleet?")

    def _published(self, _paho: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._unacknowledged.discard(mid)

    def _received(self, _paho: Any, _data: Any, message: Any) -> None:
        try:
            self._on_message(message.topic, message.payload, message.retain)
        except Exception:  # noqa: BLE001 - a loop's top: a message that upsets us must not end the connection
            _log.exception("a message of the broker was not taken")

    def _logged(self, _paho: Any, _data: Any, level: int, text: str) -> None:
        if level in (LogLevel.MQTT_LOG_ERR, LogLevel.MQTT_LOG_WARNING):
            self._trouble = text


class _Paho(BoundedPaho):
    """paho over our own stream; it would copy what is left of a packet for each piece."""

    stream: BufferedStream | None = None

    def secure(self, context: ssl.SSLContext) -> None:
        """TLS for the next connection."""
        self._secure_context = context
        self.tls_set_context(context)

    def _create_socket(self) -> Any:
        self.stream = dial(self.host, self.port, self._secure_context, self.connect_timeout)
        return self.stream

    def _packet_queue(
        self, command: int, packet: Any, mid: int, qos: int, info: paho.MQTTMessageInfo | None = None
    ) -> MQTTErrorCode:
        return super()._packet_queue(command, memoryview(packet), mid, qos, info)  # type: ignore[arg-type]


def _make_paho(endpoint: Endpoint, patience: Patience, will: Will) -> _Paho:
    made = _Paho(
        CallbackAPIVersion.VERSION2,
        client_id=endpoint.name,
        clean_session=True,  # what is not done comes again from either end
        protocol=paho.MQTTv311,
        reconnect_on_failure=False,
    )
    made.username_pw_set(endpoint.name)
    made.will_set(will.topic, will.payload, qos=1, retain=True)
    made.connect_timeout = patience.connect_timeout_s
    made.max_inflight_messages_set(patience.window + 1)
    made.max_queued_messages_set(4 * patience.window)
    return made


def _explain(trouble: Exception | str) -> MusterError:
    """Sockets' and TLS' words in ours."""
    text = str(trouble)
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return NotAuthorisedError("expected a broker of this fleet under that name, found another certificate")
    if "ALERT" in text.upper():
        return NotAuthorisedError(
            f"the broker refuses this certificate ({alert_words(text)}); is it expired or revoked?"
        )
    if isinstance(trouble, ConnectionRefusedError):
        return UnreachableError("nobody listens there; is the broker running?")
    if isinstance(trouble, TimeoutError):
        return UnreachableError("expected an answer of the broker, found silence")
    return UnreachableError(f"the connection to the broker broke: {text}")
