"""The Open Inference Protocol over HTTP as a bare ASGI application."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from muster_agent.serving.ask import arrival_ns, ask
from muster_agent.serving.engine import Engine
from muster_agent.serving.errors import RefusedError
from muster_agent.serving.http_body import format_response, parse_request
from muster_agent.serving.protocol import EXTENSIONS, SERVICE_NAME, metadata, model_face
from muster_agent.serving.tensors import max_request_bytes
from muster_protos.errors import InvalidInputError, MusterError, NotFoundError

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class _HttpError(MusterError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpApp:
    """Routes of protocol version 2; anything else is 404 with one line."""

    def __init__(self, engine: Engine, version: str) -> None:
        self._engine = engine
        self._version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        arrived_ns = arrival_ns()
        try:
            parts = [part for part in str(scope["path"]).split("/") if part]
            if len(parts) >= 4 and parts[:2] == ["v2", "models"] and parts[-1] == "infer":
                await self._infer(scope, receive, send, _model(parts[2:-1]), arrived_ns)
            else:
                await _answer(send, 200, self._get(str(scope["method"]), parts))
        except MusterError as error:
            await _answer(send, _status(error), {"error": str(error)}, _retry_after(error))

    def _get(self, method: str, parts: list[str]) -> dict[str, object]:
        if method not in ("GET", "HEAD"):
            raise _HttpError(405, f"expected GET, found {method}")
        match parts:
            case ["v2"]:
                return {"name": SERVICE_NAME, "version": self._version, "extensions": list(EXTENSIONS)}
            case ["v2", "health", "live"]:
                return {"live": True}
            case ["v2", "health", "ready"]:
                if self._engine.ladder is None:
                    raise RefusedError("nothing is served yet", 1.0)
                return {"ready": True}
            case ["v2", "models", *path] if path and path[-1] == "ready" and len(path) > 1:
                face = model_face(self._engine, *_model(path[:-1]))
                return {"name": face.name, "ready": True}
            case ["v2", "models", *path] if path:
                return metadata(model_face(self._engine, *_model(path)))
            case _:
                raise NotFoundError(
                    "expected a path of the Open Inference Protocol v2, such as /v2/models/<model>/infer"
                )

    async def _infer(self, scope: Scope, receive: Receive, send: Send, model: tuple[str, str], arrived_ns: int) -> None:
        if scope["method"] != "POST":
            raise _HttpError(405, f"expected POST, found {scope['method']}")
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        face = model_face(self._engine, *model)
        if headers.get(b"content-encoding", "identity") != "identity":
            raise _HttpError(415, f"expected an uncompressed body, found {headers[b'content-encoding'][:20]}")
        body = await _body(receive, headers.get(b"content-length"), max_request_bytes(face.signature))
        request = parse_request(face, body, headers.get(b"inference-header-content-length"))
        answer = await ask(self._engine, request.feeds, arrived_ns)
        payload, header_length = format_response(face, request, answer.outputs, answer.variant_id)
        extra = [(b"muster-variant", answer.variant_id.encode())]
        if header_length is not None:
            extra.append((b"inference-header-content-length", str(header_length).encode()))
        kind = b"application/json" if header_length is None else b"application/octet-stream"
        await _send(send, 200, payload, [(b"content-type", kind), *extra])
        self._engine.delivered(answer, arrived_ns, arrival_ns())


def _model(path: list[str]) -> tuple[str, str]:
    """``<model>`` or ``<model>/versions/<version>``."""
    match path:
        case [name]:
            return name, ""
        case [name, "versions", version]:
            return name, version
        case _:
            raise NotFoundError("expected /v2/models/<model> or /v2/models/<model>/versions/<version>")


async def _body(receive: Receive, declared: str | None, limit_bytes: int) -> bytes:
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise _HttpError(413, f"expected a body of at most {limit_bytes} bytes, found {declared}")
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInputError("the app hung up before its request was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit_bytes:
            raise _HttpError(413, f"expected a body of at most {limit_bytes} bytes, found more")
        if not message.get("more_body", False):
            return b"".join(chunks) if len(chunks) > 1 else chunks[0]


async def _answer(send: Send, status: int, body: dict[str, object], extra: Headers | None = None) -> None:
    await _send(send, status, json.dumps(body).encode(), [(b"content-type", b"application/json"), *(extra or [])])


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _status(error: MusterError) -> int:
    if isinstance(error, _HttpError):
        return error.status
    if isinstance(error, RefusedError):
        return 503
    if isinstance(error, NotFoundError):
        return 404
    return 400 if isinstance(error, InvalidInputError) else 500


def _retry_after(error: MusterError) -> Headers:
    if isinstance(error, RefusedError):
        return [(b"retry-after", str(max(1, round(error.retry_after_s or 1))).encode())]
    return []
