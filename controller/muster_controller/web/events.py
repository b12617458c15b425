"""/v1/events and its live stream (server-sent events)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from muster_controller.core.entities import FleetEvent
from muster_controller.service.progress import DeviceProgress
from muster_controller.service.service import Service
from muster_controller.web.replies import Items, as_json, items
from muster_controller.web.scope import Cursor, Limit, ServiceOf

router = APIRouter(tags=["events"])

_PAGE = 200


@router.get("/events", response_model=Items[FleetEvent])
def list_events(
    service: ServiceOf,
    after: Annotated[int, Query(ge=0, description="only events with a higher sequence")] = 0,
    cursor: Cursor = "",
    device: str = "",
    kind: str = "",
    newest: bool = False,
    limit: Limit = 200,
) -> Response:
    """Oldest first; with ``newest`` the last ``limit`` of them. ``next_cursor`` is the next page's."""
    device_id = service.devices.get(device).device_id if device else None
    found = (
        service.newest_events(device_id, kind or None, limit)
        if newest
        else service.events.list(int(cursor) if cursor.isdecimal() else after, device_id, kind or None, limit)
    )
    is_full = len(found) == limit and not newest
    return items(found, str(found[-1].sequence) if is_full else "")


@router.get("/events/stream", response_class=EventSourceResponse)
async def stream_events(
    service: ServiceOf,
    request: Request,
    after: Annotated[int | None, Query(ge=0, description="replay events after this sequence first")] = None,
    last_event_id: Annotated[str, Header(description="where a broken stream goes on")] = "",
) -> EventSourceResponse:
    """Events ("event: fleet") with their sequence as id, and progress of running steps ("event: progress")."""
    start = int(last_event_id) if last_event_id.isdecimal() else after
    stopping: asyncio.Event = request.app.state.stopping
    return EventSourceResponse(_follow(service, start, stopping), ping=15)


async def _follow(service: Service, after: int | None, stopping: asyncio.Event) -> AsyncIterator[ServerSentEvent]:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(woken.set)

    unsubscribers: list[Callable[[], None]] = [service.subscribe(topic, wake) for topic in ("events", "progress")]
    try:
        position = await run_in_threadpool(service.last_event_sequence) if after is None else after
        shown: dict[tuple[str, str, str], DeviceProgress] = {}
        while not stopping.is_set():
            woken.clear()
            while found := await run_in_threadpool(service.events.list, position, None, None, _PAGE):
                for event in found:
                    yield ServerSentEvent(as_json(event).decode(), event="fleet", id=str(event.sequence))
                position = found[-1].sequence
            for entry in service.progress.list():
                key = (entry.device_id, entry.subject, entry.id)
                if shown.get(key) != entry:
                    shown[key] = entry
                    yield ServerSentEvent(as_json(entry).decode(), event="progress")
            await _either(woken, stopping)
    finally:
        for unsubscribe in unsubscribers:
            unsubscribe()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = {asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
