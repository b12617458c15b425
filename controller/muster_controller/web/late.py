"""The REST application, built when it is first asked for or when there is time: loading it takes as long as a start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(Protocol):
    """What is served: ASGI, with a state that tells long answers to end."""

    state: Any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class LateApplication:
    """ASGI. Requests that come before it is built wait for it."""

    def __init__(self, build: Callable[[], Application]) -> None:
        """``build`` runs in a thread, once; after a failure whoever asks next has it tried again."""
        self._build = build
        self._built: asyncio.Task[Application] | None = None
        self._is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        application = await self.built()
        await application(scope, receive, send)

    async def built(self) -> Application:
        """The application itself; the same for all who ask."""
        if self._built is None or _has_failed(self._built):
            self._built = asyncio.create_task(self._make(), name="REST application")
        return await asyncio.shield(self._built)  # whoever leaves does not end it for the others

    def stop(self) -> None:
        """Have answers without an end come to one."""
        self._is_stopping = True
        if self._built is not None and self._built.done() and not _has_failed(self._built):
            self._built.result().state.stopping.set()

    async def _make(self) -> Application:
        application = await asyncio.to_thread(self._build)
        if self._is_stopping:
            application.state.stopping.set()
        return application


def _has_failed(task: asyncio.Task[Application]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
