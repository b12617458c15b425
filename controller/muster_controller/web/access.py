"""Who may ask: the admin, by bearer token. Also bounds how large a question may be."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from muster_controller.ports import Authenticator
from muster_controller.web.errors import error_reply
from muster_protos.errors import NotAuthorisedError

MAX_JSON_BYTES = 2 * 2**20
BODY_S = 30.0  # for a body that is no upload; an upload may take its time, but must go on
UPLOAD_PATH = "/v1/uploads"

_bearer = HTTPBearer(auto_error=False, description="the admin token of the controller")


def require_admin(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """NotAuthorisedError without the admin's token."""
    if credentials is None:
        raise NotAuthorisedError("expected an admin token (MUSTER_TOKEN, --token or the data folder's), found none")
    authenticator: Authenticator = request.app.state.authenticator
    authenticator.authenticate_admin(credentials.credentials)


class BodyLimit:
    """Refuses request bodies above MAX_JSON_BYTES, except uploads, which count for themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == UPLOAD_PATH:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await _read(receive)
        except TimeoutError:
            await error_reply("invalid_input", f"expected the body within {BODY_S:g} s", 408)(scope, receive, send)
            return
        if body is None:
            return
        if len(body) > MAX_JSON_BYTES:
            answer = error_reply("invalid_input", f"expected a body of at most {MAX_JSON_BYTES} bytes", 413)
            await answer(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
    """The body, or a little more than is taken; None when the asker has left."""
    body = bytearray()
    more = True
    while more and len(body) <= MAX_JSON_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_sent = False

    async def replayed() -> dict[str, object]:
        nonlocal is_sent
        if is_sent:
            return dict(await receive())
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
