"""A short visit to a broker: connect, say and hear a few things with deadlines, leave. No thread of its own.

For joins, probes and the end of other people's sessions; a link keeps its connection instead. Waits with poll(2), since
select(2), which paho's own loop uses, fails in a process with more than 1,023 open files.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion

from muster_protos.credentials import Credentials
from muster_protos.errors import NotAuthorisedError, PermanentError, UnreachableError
from muster_protos.limits import MAX_BROKER_PACKET_BYTES
from muster_protos.mqtt.bounded import BoundedPaho
from muster_protos.mqtt.lean_paho import client as paho
from muster_protos.mqtt.tls import alert_words, tls_context
from muster_protos.mqtt.will import Will

__all__ = ["Visit", "Will"]

_KEEPALIVE_S = 30
_MAX_WAITING_BYTES = 4 * MAX_BROKER_PACKET_BYTES  # received and not yet asked for; more ends the visit
_REFUSED = (4, 5)  # MQTT 3.1.1, 3.2.2.3: bad user name or password, not authorised


class Visit:
    """A context manager; leaving it disconnects cleanly. For one thread."""

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Credentials,
        principal: str,
        timeout_s: float = 10.0,
        is_verified: bool = True,
        will: Will | None = None,
        user_name: str = "",
    ) -> None:
        """``principal``: the client id to ask for. Without ``is_verified`` any broker will do: say nothing secret."""
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._received: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._code: int | None = None
        self._is_over = False
        self._alert = ""
        self._answered: set[int] = set()
        self._peer = BoundedPaho(
            CallbackAPIVersion.VERSION2, client_id=principal, clean_session=True, protocol=paho.MQTTv311
        )
        self._peer.connect_timeout = timeout_s
        self._context = tls_context(credentials, is_verified)
        self._context.sslsocket_class = _ClosedOnRefusal
        self._peer.tls_set_context(self._context)
        if user_name:
            self._peer.username_pw_set(user_name)
        if will is not None:
            self._peer.will_set(will.topic, will.payload, qos=1)
        self._peer.on_connect = self._on_connect
        self._peer.on_disconnect = self._on_disconnect
        self._peer.on_subscribe = self._on_subscribe
        self._peer.on_publish = self._on_publish
        self._peer.on_message = self._on_message
        self._peer.on_log = self._on_log

    def __enter__(self) -> Visit:
        """Raises:
        UnreachableError: nobody answers there, or not in time.
        NotAuthorisedError: the broker is not who it should be, or does not take us.
        """
        try:
            self._peer.connect(self._host, self._port, _KEEPALIVE_S)
            try:
                self._wait(lambda: self._code is not None, "an answer to CONNECT")
            except UnreachableError:
                if self._is_over:
                    self._raise_refusal()
                raise
        except ssl.SSLCertVerificationError as error:
            self.break_off()
            raise NotAuthorisedError(
                f"expected {self._where} to show a certificate of the CA for its name, found: {error.verify_message}"
            ) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: no DNS name can be so
            self.break_off()
            if "ALERT" in str(error).upper():
                raise NotAuthorisedError(f"the broker at {self._where} refuses this certificate: {error}") from error
            raise UnreachableError(f"expected a broker at {self._where}, found: {error}") from error
        except BaseException:
            self.break_off()
            raise
        if self._code:
            self.break_off()
            kind = NotAuthorisedError if self._code in _REFUSED else PermanentError
            raise kind(f"expected {self._where} to let us in, found CONNACK {self._code}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_over:
            self._peer.disconnect()
        self.break_off()

    def break_off(self) -> None:
        """Close the connection without a word."""
        self._is_over = True
        stream = self._peer.socket()
        if stream is not None:
            stream.close()

    @property
    def is_over(self) -> bool:
        """The broker ended it."""
        return self._is_over

    def subscribe(self, *topics: str, qos: int = 1) -> None:
        """Return when the broker has answered, which does not mean that it will deliver."""
        _, number = self._peer.subscribe([(topic, qos) for topic in topics])
        self._wait(lambda: number in self._answered, "an answer to SUBSCRIBE")

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Return when the broker has taken it, which does not mean that it will deliver."""
        sent = self._peer.publish(topic, payload, qos, retain)
        self._wait(lambda: sent.mid in self._answered, "an answer to PUBLISH")

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        """(topic, payload) of the next message, or None when none came or the broker ended the visit."""
        deadline_s = time.monotonic() + timeout_s
        while not self._received and not self._is_over and time.monotonic() < deadline_s:
            self._turn(deadline_s)
        if not self._received:
            return None
        topic, payload = self._received.popleft()
        self._waiting_bytes -= len(payload)
        return topic, payload

    def put_back(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Have ``receive`` return these again, before what has come since."""
        self._received.extendleft(reversed(messages))
        self._waiting_bytes += sum(len(payload) for _, payload in messages)

    def _wait(self, is_done: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        while not is_done():
            if self._alert:  # under TLS 1.3 a certificate is refused after the handshake
                raise NotAuthorisedError(
                    f"the broker at {self._where} refuses this certificate ({self._alert}); is it expired or revoked?"
                )
            if self._is_over:
                raise UnreachableError(f"expected {what} of {self._where}, found the connection closed")
            if time.monotonic() >= deadline_s:
                raise UnreachableError(f"expected {what} of {self._where} within {self._timeout_s:g} s, found none")
            self._turn(deadline_s)

    def _raise_refusal(self) -> None:
        """A broker that refuses a certificate under TLS 1.3 may close before its word about that is read. Under TLS 1.2
        the refusal is part of the handshake, so that one more tells it from a broker that is going down."""
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            with (
                socket.create_connection((self._host, self._port), self._timeout_s) as stream,
                self._context.wrap_socket(stream, server_hostname=self._host),
            ):
                return
        except OSError as error:
            if "CERTIFICATE" in str(error).upper() or "UNKNOWN_CA" in str(error).upper():
                raise NotAuthorisedError(
                    f"the broker at {self._where} refuses this certificate ({alert_words(str(error))}); "
                    "is it expired or revoked?"
                ) from error

    def _turn(self, deadline_s: float) -> None:
        stream: Any = self._peer.socket()
        if stream is None:
            self._is_over = True
            return
        poll = select.poll()
        poll.register(stream, select.POLLIN | (select.POLLOUT if self._peer.want_write() else 0))
        wait_s = 0.0 if stream.pending() else min(1.0, max(0.0, deadline_s - time.monotonic()))
        for _, events in poll.poll(wait_s * 1000) or ([(0, select.POLLIN)] if stream.pending() else []):
            if events & ~select.POLLOUT and self._peer.loop_read():
                self._is_over = True
                return
            if events & select.POLLOUT:
                self._peer.loop_write()
        self._peer.loop_misc()

    def _on_connect(self, _peer: object, _data: object, _flags: object, code: Any, _properties: object) -> None:
        self._code = 0 if not code.is_failure else _connack(code)

    def _on_disconnect(self, *_: object) -> None:
        self._is_over = True

    def _on_log(self, _peer: object, _data: object, _level: object, text: str) -> None:
        if "ALERT" in text.upper():
            self._alert = alert_words(text)

    def _on_subscribe(self, _peer: object, _data: object, number: int, *_: object) -> None:
        self._answered.add(number)

    def _on_publish(self, _peer: object, _data: object, number: int, *_: object) -> None:
        self._answered.add(number)

    def _on_message(self, _peer: object, _data: object, message: paho.MQTTMessage) -> None:
        self._waiting_bytes += len(message.payload)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self._is_over = True
            return
        self._received.append((message.topic, bytes(message.payload)))


class _ClosedOnRefusal(ssl.SSLSocket):
    """paho forgets a socket whose handshake fails without closing it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _connack(code: Any) -> int:
    """The 3.1.1 return code; paho shows its MQTT 5 equivalent."""
    equivalents = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}
    return equivalents.get(int(code.value), 5)
