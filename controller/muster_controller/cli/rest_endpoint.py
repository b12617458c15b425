"""The REST application on a socket, inside the controller's event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn

from muster_controller.web.late import Receive, Scope, Send
from muster_devices.http_patience import EmbeddedServer, Patience, patient_protocol
from muster_protos.errors import PermanentError


class RestEndpoint:
    """Plain HTTP, or HTTPS when given a certificate and its key (PEM)."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        host: str = "127.0.0.1",
        port: int = 8470,
        tls: tuple[bytes, bytes] | None = None,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        listening: socket.socket | None = None,
    ) -> None:
        """``listening``: a socket in place of ``host`` and ``port``."""
        self._app = app
        self._host = host
        self._port = port
        self._tls = tls
        self._patience = patience
        self._listening = listening
        self._shown: ssl.SSLContext | None = None
        self._embedded: EmbeddedServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; the real port. PermanentError: the port is taken or the address is not ours."""
        listening = self._listening or _listen(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            http=patient_protocol(self._patience),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        config.load()
        if self._tls is not None:
            config.ssl = self._shown = _context(*self._tls)
        self._embedded = EmbeddedServer(config, self._patience)
        self._serving = asyncio.create_task(self._embedded.serve(sockets=[listening]), name="REST endpoint")
        port: int = listening.getsockname()[1]
        return port

    def renew_certificate(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Show this one from the next handshake on, where TLS is spoken at all."""
        if self._shown is not None:
            _load(self._shown, certificate_pem, key_pem)

    async def stop(self) -> None:
        """Finish running requests within three seconds. Safe to call twice."""
        if self._embedded is None or self._serving is None:
            return
        self._embedded.should_exit = True
        await self._serving
        self._embedded = self._serving = None


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        why = f"port {port} is taken" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise PermanentError(f"expected to listen on {host}:{port}, found: {why}") from error
    listening.setblocking(False)
    return listening


def _context(certificate_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate_pem, key_pem)
    return context


def _load(context: ssl.SSLContext, certificate_pem: bytes, key_pem: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:  # 0700; the ssl module reads only files
        path = Path(folder) / "host.pem"
        path.write_bytes(certificate_pem + key_pem)
        context.load_cert_chain(path)
