"""The error tree as HTTP answers: {"error": {"kind", "message"}}."""

from __future__ import annotations

import logging
import re

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from muster_controller.web.replies import reply
from muster_protos.errors import (
    ConflictError,
    InfeasibleError,
    InvalidInputError,
    MissingExtraError,
    MusterError,
    NotAuthorisedError,
    NotFoundError,
    TemporaryError,
    UnreachableError,
)
from muster_protos.faults import faults_of

_log = logging.getLogger(__name__)

_KINDS: tuple[tuple[type[MusterError], str, int], ...] = (
    (UnreachableError, "unreachable", 503),
    (TemporaryError, "temporary", 503),
    (NotFoundError, "not_found", 404),
    (ConflictError, "conflict", 409),
    (NotAuthorisedError, "not_authorised", 401),
    (InfeasibleError, "infeasible", 422),
    (MissingExtraError, "missing_extra", 503),
    (InvalidInputError, "invalid_input", 400),
    (MusterError, "failed", 500),
)


def error_reply(kind: str, message: str, status_code: int) -> Response:
    return reply({"error": {"kind": kind, "message": message}}, status_code)


def install(app: FastAPI) -> None:
    """Answer every error in the one shape."""

    @app.exception_handler(MusterError)
    def muster_error(_: Request, error: MusterError) -> Response:
        kind, status_code = next((kind, code) for cls, kind, code in _KINDS if isinstance(error, cls))
        return error_reply(kind, str(error), status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        return error_reply("invalid_input", f"the request does not fit: {faults_of(error.errors(), 3)}", 400)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        kind = "not_found" if error.status_code == 404 else "failed"
        detail = f"no resource at {request.url.path}" if error.status_code == 404 else str(error.detail)
        answer = error_reply(kind, detail, error.status_code)
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_methods(app, request.url.path))
        return answer

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_reply("failed", f"unexpected {type(error).__name__}; the controller's log has the trace", 500)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What the resource at ``path`` takes; the framework itself names the first route's alone."""
    found: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{[^/]*\}", "[^/]+", template), path):
            found |= {method.upper() for method in operations}
    return sorted(found)
