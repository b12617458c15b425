"""What both links have in common: a TLS connection that carries one session."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import Any, Protocol

from muster_protos.credentials import Credentials
from muster_protos.v1 import link_pb2

Message = Any  # muster.v1.ControllerMessage
ANSWER_S = 15.0  # an agent waits so long for the controller to accept


class Ear(Protocol):
    """Who hears what happens in a session."""

    def opened(self) -> None: ...
    def closed(self) -> None: ...
    def heard(self, message: Message) -> None: ...


class Wire(asyncio.Protocol):
    """From dial to end; ``ended`` has the reason."""

    def __init__(self, ear: Ear) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.retry_after_s = 0.0
        self._ear = ear
        self._transport: Any = None
        self._is_open = False

    def say(self, message: bytes, kind: str) -> None:
        """Send an encoded AgentMessage, whose body is ``kind``; order is kept, nothing blocks."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """End the connection at once, as a network does: TLS would wait for the other end's last word."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._end(str(error) if error is not None else "the connection was closed")

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._ear.opened()

    def _hear(self, message: Message) -> None:
        if message.WhichOneof("body") == "goodbye":
            self.retry_after_s = message.goodbye.retry_after_ms / 1e3
            self._end(f"goodbye: {message.goodbye.reason}")
            self.hang_up()
        else:
            self._ear.heard(message)

    def _close(self) -> None:
        """The session is over, the connection perhaps not."""
        if self._is_open:
            self._is_open = False
            self._ear.closed()

    def _give_up(self) -> None:
        if not self._is_open:
            self._end(f"no answer within {ANSWER_S:g} s")
            self.hang_up()

    def _end(self, reason: str) -> None:
        self._close()
        if not self.ended.done():
            self.ended.set_result(reason)


def tls_context(credentials: Credentials, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Mutual TLS that trusts one CA and checks the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=credentials.ca.decode())
    with tempfile.NamedTemporaryFile() as file:  # OpenSSL reads files only
        Path(file.name).write_bytes(credentials.certificate + credentials.key)
        context.load_cert_chain(file.name)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def parse(payload: bytes) -> Message:
    """A ControllerMessage."""
    return link_pb2.ControllerMessage.FromString(payload)
