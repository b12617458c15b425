"""The REST application."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, FastAPI, Response

from muster_controller.ports import Authenticator
from muster_controller.service.service import Service
from muster_controller.service.version import product_version
from muster_controller.web import benchmarks, devices, errors, events, keys, models, reports, rollouts
from muster_controller.web.access import BodyLimit, require_admin
from muster_controller.web.replies import ErrorReply, reply

_ANSWERS: dict[int | str, dict[str, object]] = {
    code: {"model": ErrorReply} for code in (400, 401, 403, 404, 409, 422, 503)
}


def create_app(service: Service, authenticator: Authenticator) -> FastAPI:
    """Everything under /v1 asks for the admin token; /healthz and the OpenAPI document do not."""
    app = FastAPI(
        title="Muster controller",
        version=product_version(),
        summary="Compress, push, benchmark, choose and serve models on a fleet of edge devices.",
        docs_url=None,  # these pages load scripts from the internet; a fleet's controller has its own network only
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.service = service
    app.state.authenticator = authenticator
    app.state.stopping = asyncio.Event()
    app.add_middleware(BodyLimit)
    errors.install(app)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(require_admin)], responses=_ANSWERS)
    for part in (devices, keys, models, benchmarks, rollouts, reports, events):
        v1.include_router(part.router)
    app.include_router(v1)

    @app.get("/healthz", tags=["health"])
    def healthz() -> Response:
        """Alive, and the store answers."""
        return reply({"status": "ok", "version": product_version(), "fleet": service.store_answers()})

    return app
