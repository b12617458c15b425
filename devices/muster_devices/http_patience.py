"""uvicorn with an end to its patience: for every HTTP port of agent and controller. Needs uvicorn (an extra).

uvicorn by itself waits for ever for a request line, for headers and for a body, so that a few hundred idle connections
keep everybody else out (slow-loris). Here each stage has a time, and connections have a number, which counts from the
moment that the kernel hands one over: those that never end their TLS handshake, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

DEFAULT_CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take, and how many may be connected."""

    handshake_s: float = 10.0  # TLS
    head_s: float = 10.0  # from the connection, or a request's first byte, to the end of its headers
    body_idle_s: float = 20.0  # between two pieces of a body
    connections: int = DEFAULT_CONNECTIONS  # a further one is closed at once, before it has cost a handshake


def patient_protocol(patience: Patience) -> type[asyncio.Protocol]:
    """For ``uvicorn.Config(http=...)``."""

    class Patient(_Patient):
        limits = patience

    return Patient


class EmbeddedServer(uvicorn.Server):
    """Signals belong to the process, not to one of its ports; TLS handshakes have a time of their own."""

    def __init__(self, config: uvicorn.Config, patience: Patience = Patience()) -> None:
        super().__init__(config)
        self._patience = patience

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        loop, config = asyncio.get_running_loop(), self.config

        def protocol() -> asyncio.Protocol:
            made: Any = config.http_protocol_class
            found: asyncio.Protocol = made(config=config, server_state=self.server_state, app_state=self.lifespan.state)
            return found

        room = _Room(self._patience.connections)
        handshake_s = self._patience.handshake_s if config.ssl is not None else None
        for listening in sockets or ():
            self.servers.append(
                await loop.create_server(
                    protocol,
                    sock=_Entrance(listening, room),
                    ssl=config.ssl,
                    backlog=config.backlog,
                    ssl_handshake_timeout=handshake_s,
                )
            )


class _Room:
    """How many connections may be yet; for one event loop."""

    def __init__(self, connections: int) -> None:
        self.left = connections


class _Entrance(socket.socket):
    """Accepts for asyncio as long as there is room. Has a descriptor of its own: whoever bound the port closes his."""

    def __init__(self, listening: socket.socket, room: _Room) -> None:
        copy = listening.dup()
        super().__init__(copy.family, copy.type, copy.proto, fileno=copy.detach())
        self._room = room

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if self._room.left <= 0:
            connection.close()
            raise ConnectionAbortedError("no room for a further connection")  # asyncio looks again in its next turn
        return _Guest(connection, self._room), address


class _Guest(socket.socket):
    """A connection that gives its room back."""

    def __init__(self, connection: socket.socket, room: _Room) -> None:
        super().__init__(connection.family, connection.type, connection.proto, fileno=connection.detach())
        self._room: _Room | None = room
        room.left -= 1

    def close(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.left += 1
        super().close()


class _Patient(H11Protocol):
    """One connection: at most one timer, for what it owes us next."""

    limits = Patience()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait("head", self.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._stop()
        super().on_response_complete()

    def _watch(self) -> None:
        cycle = self.cycle
        if self.transport.is_closing():
            self._stop()
        elif cycle is None or cycle.response_complete:
            if self._waits_for != "head":
                self._wait("head", self.limits.head_s)
        elif cycle.more_body:
            self._wait("body", self.limits.body_idle_s)
        else:
            self._stop()

    def _wait(self, what: str, seconds: float) -> None:
        self._stop()
        self._waits_for = what
        self._timer = asyncio.get_running_loop().call_later(seconds, self._lose_patience)

    def _stop(self) -> None:
        self._waits_for = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose_patience(self) -> None:
        if self._waits_for == "body" and self.flow.read_paused:  # we do not take what it sends
            self._wait("body", self.limits.body_idle_s)
            return
        self._stop()
        self.transport.abort()
