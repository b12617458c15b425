"""uvicorn inside this process's event loop: its socket is ours, signals stay ours, nothing is logged per request."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from muster_agent.serving.errors import GrantError
from muster_agent.serving.http_app import HttpApp
from muster_devices.http_patience import EmbeddedServer, Patience, patient_protocol

_MAX_CONNECTIONS = 256  # further ones are answered 503 at once, and from twice as many on closed
_KEEP_ALIVE_S = 75
_SHUTDOWN_S = 3


class HttpListener:
    """One listening port of the HTTP transport."""

    def __init__(
        self,
        app: HttpApp,
        host: str,
        port: int,
        patience: Patience = Patience(connections=2 * _MAX_CONNECTIONS),  # noqa: B008 - frozen
    ) -> None:
        """Take the port, 0 for any.

        Raises:
            GrantError: it is taken, or not ours to take.
        """
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._uvicorn = EmbeddedServer(
            uvicorn.Config(
                app,
                http=patient_protocol(patience),
                ws="none",
                loop="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            ),
            patience,
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.ensure_future(self._uvicorn.serve(sockets=[self._socket]))
        while not self._uvicorn.started:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Stop listening, finish what is under way."""
        self._uvicorn.should_exit = True
        if self._running is not None:
            await self._running


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with proto 0 asyncio does not set TCP_NODELAY on what is accepted, and every answer waits 40 ms for an ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise GrantError(f"port: expected {host}:{port} to be free, found {error.strerror}") from error
    return listener
