"""The ports of the serving child: opened with the first grant, moved when a grant names others."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from muster_agent.serving.engine import Engine, Ladder
from muster_agent.serving.errors import GrantError
from muster_agent.serving.http_app import HttpApp
from muster_agent.serving.http_listen import HttpListener

log = logging.getLogger(__name__)

_OPEN_TIMEOUT_S = 20.0


class Listener(Protocol):
    """A port that answers."""

    port: int

    async def start(self) -> None: ...
    async def close(self) -> None: ...


class Transports:
    """HTTP always, gRPC when grpcio is installed. ``open`` is called from the keeper's thread."""

    def __init__(self, host: str, version: str, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._version = version
        self._loop = loop
        self._engine: Engine | None = None
        self._http: Listener | None = None
        self._grpc: Listener | None = None

    def serve(self, engine: Engine) -> None:
        """Which engine answers; before the first ``open``."""
        self._engine = engine

    def open(self, ladder: Ladder) -> tuple[int, int]:
        """See ``keeper.Ports``: a port stays as it is unless the grant names another."""
        grant = ladder.grant.grant
        opening = asyncio.run_coroutine_threadsafe(self._open(grant.http_port, grant.grpc_port), self._loop)
        return opening.result(_OPEN_TIMEOUT_S)

    async def close(self) -> None:
        """Finish what is under way on every port."""
        for listener in (self._http, self._grpc):
            if listener is not None:
                await listener.close()

    async def _open(self, http_port: int, grpc_port: int) -> tuple[int, int]:
        if self._needs(self._http, http_port):
            self._http = await self._replace(self._http, self._new_http(http_port))
        if self._needs(self._grpc, grpc_port) and (listener := self._new_grpc(grpc_port)) is not None:
            self._grpc = await self._replace(self._grpc, listener)
        return self._http.port if self._http else 0, self._grpc.port if self._grpc else 0

    @staticmethod
    def _needs(listener: Listener | None, port: int) -> bool:
        return listener is None or port not in (0, listener.port)

    async def _replace(self, old: Listener | None, new: Listener) -> Listener:
        await new.start()
        if old is not None:
            await old.close()
        return new

    def _new_http(self, port: int) -> Listener:
        assert self._engine is not None
        return HttpListener(HttpApp(self._engine, self._version), self._host, port)

    def _new_grpc(self, port: int) -> Listener | None:
        assert self._engine is not None
        try:
            from muster_agent.serving.grpc_service import GrpcListener, GrpcService
        except ModuleNotFoundError as error:
            if port:
                raise GrantError(f"port: gRPC on {port} needs the extra muster-edge[grpc]: {error}") from error
            log.info("no gRPC transport: %s", error)
            return None
        return GrpcListener(GrpcService(self._engine, self._version), self._host, port)
