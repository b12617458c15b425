"""Where devices join: ``GET /v1/ca`` and ``POST /v1/join`` over TLS with a certificate of the fleet's CA. And the door
for those whose certificate has run out: ``GET /v1/challenge`` and ``POST /v1/renew``.

In scope: HTTP, size and time limits, the translation of errors. Not in scope: who may join (the ``join`` and the
``door`` it is given).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from muster_controller.ports import DeviceRevokedError, FleetAuthority
from muster_devices.http_patience import EmbeddedServer, Patience, patient_protocol
from muster_protos import codec
from muster_protos.errors import InvalidInputError, MusterError, NotAuthorisedError, PermanentError, TemporaryError
from muster_protos.model import JoinRequest, JoinResponse, RenewalChallenge, RenewRequest, RenewResponse

PROTOBUF = "application/x-protobuf"
_MAX_BODY_BYTES = 256 * 1024
_BODY_TIMEOUT_S = 15.0

_log = logging.getLogger(__name__)


class JoinEndpoint:
    """A TLS endpoint inside the running event loop; starts and stops with the controller."""

    def __init__(
        self,
        join: Callable[[JoinRequest], JoinResponse],
        authority: FleetAuthority,
        host: str = "127.0.0.1",
        port: int = 8472,
        names: Sequence[str] = (),
        door: Door | None = None,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        listening: socket.socket | None = None,
    ) -> None:
        """``names``: further DNS names and IP addresses under which devices reach this host.

        ``listening``: a socket in place of ``host`` and ``port``.
        """
        self._join = join
        self._door = door
        self._authority = authority
        self._host = host
        self._port = port
        self._names = names
        self._tls: ssl.SSLContext | None = None
        self._patience = patience
        self._listening = listening
        self._embedded: EmbeddedServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; the real port.

        Raises:
            PermanentError: the port is taken or the address is not ours.
        """
        listening = self._listening or _listen(self._host, self._port)
        config = uvicorn.Config(
            self._app(),
            http=patient_protocol(self._patience),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
        )
        config.load()
        config.ssl = self._tls = _tls(*self._authority.issue_host_certificate(self._names))
        self._embedded = EmbeddedServer(config, self._patience)
        self._serving = asyncio.create_task(self._embedded.serve(sockets=[listening]), name="join endpoint")
        port: int = listening.getsockname()[1]
        return port

    def renew_certificate(self) -> None:
        """Show a new certificate with a new key from the next handshake on."""
        if self._tls is not None:
            _load(self._tls, *self._authority.issue_host_certificate(self._names))

    async def stop(self, grace_s: float = 2.0) -> None:
        """Finish running joins within ``grace_s`` seconds, then stop. Safe to call twice."""
        if self._embedded is None or self._serving is None:
            return
        self._embedded.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._serving), grace_s)
        self._embedded.force_exit = True
        await self._serving
        self._embedded = self._serving = None

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/ca", self._show_ca, methods=["GET"]),
                Route("/v1/join", self._take_join, methods=["POST"]),
                *self._door_routes(),
            ]
        )

    async def _show_ca(self, _request: Request) -> Response:
        return Response(self._authority.ca_pem(), media_type="application/x-pem-file")

    def _door_routes(self) -> list[Route]:
        if self._door is None:
            return []
        return [
            Route("/v1/challenge", self._give_challenge, methods=["GET"]),
            Route("/v1/renew", self._take_renewal, methods=["POST"]),
        ]

    async def _take_join(self, request: Request) -> Response:
        return await self._answer(request, lambda body: self._join(codec.decode(JoinRequest, body)))

    async def _take_renewal(self, request: Request) -> Response:
        door = self._door
        assert door is not None
        return await self._answer(request, lambda body: door.renew(codec.decode(RenewRequest, body)))

    async def _give_challenge(self, request: Request) -> Response:
        door = self._door
        assert door is not None
        return await self._answer(request, lambda _: door.challenge())

    async def _answer(self, request: Request, take: Callable[[bytes], object]) -> Response:
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                body = await _read_body(request)
            response = await run_in_threadpool(take, body)
        except MusterError as error:
            return _refuse(error)
        except (TimeoutError, ClientDisconnect):
            return JSONResponse({"error": "expected the request within 15 s"}, status_code=408)
        return Response(codec.encode(response), media_type=PROTOBUF)


class Door(Protocol):
    """Certificates for known keys whose old one has run out."""

    def challenge(self) -> RenewalChallenge: ...
    def renew(self, request: RenewRequest) -> RenewResponse: ...


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            raise InvalidInputError(f"expected a request of at most {_MAX_BODY_BYTES} bytes, found a longer one")
    return bytes(body)


def _refuse(error: MusterError) -> JSONResponse:
    line = " ".join(str(error).split())
    match error:
        case DeviceRevokedError():
            _log.warning("a removed device was refused: %s", line)
            return JSONResponse({"error": line}, status_code=403)
        case NotAuthorisedError():
            _log.warning("join or renewal refused: %s", line)
            return JSONResponse({"error": line}, status_code=401)
        case TemporaryError():
            headers = {"Retry-After": str(round(error.retry_after_s))} if error.retry_after_s else None
            return JSONResponse({"error": line}, status_code=503, headers=headers)
        case _:
            return JSONResponse({"error": line}, status_code=400)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise PermanentError(
            f"expected to listen on {host}:{port} for joins, found: {error.strerror}; "
            "stop what uses it or choose another port"
        ) from error


def _tls(certificate_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate_pem, key_pem)
    return context


def _load(context: ssl.SSLContext, certificate_pem: bytes, key_pem: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="muster-") as folder:  # 0700; OpenSSL reads files only
        pair = Path(folder) / "host.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(certificate_pem + key_pem)
        context.load_cert_chain(pair)
