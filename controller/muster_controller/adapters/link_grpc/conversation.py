"""One stream from its first message to its end: read in batches, hand over in order, write, say goodbye."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from muster_controller.adapters.link_grpc.options import LinkOptions
from muster_controller.adapters.link_grpc.session import StreamSession
from muster_controller.ports import SessionSink
from muster_protos import codec
from muster_protos.errors import CodecError
from muster_protos.model import AgentMessage, Goodbye

_FLUSH_S = 2.0  # for a goodbye to leave; a half-open peer must not hold the session longer
_RETRY_AFTER_FAULT_MS = 5_000

_log = logging.getLogger(__name__)


class Offload(Protocol):
    """Runs a blocking call in a thread of the link."""

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Awaitable[Any]: ...


class Conversation:
    """The three loops of a stream."""

    def __init__(self, session: StreamSession, sink: SessionSink, offload: Offload, options: LinkOptions) -> None:
        self._session = session
        self._sink = sink
        self._offload = offload
        self._batch_messages = options.batch_messages
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue(options.inbox_messages)
        self._loops: tuple[asyncio.Task[None], ...] = ()
        self._is_broken = False
        self._farewell = ""
        session.on_closing = self._close_soon

    async def run(self, incoming: AsyncIterator[Message], write: Callable[[Message], Awaitable[None]]) -> str:
        """Until either side ends it; the reason, after everything that was received has been handed over."""
        read = asyncio.create_task(self._read(incoming))
        written = asyncio.create_task(self._write(write))
        hand_over = asyncio.create_task(self._hand_over())
        self._loops = (read, written)
        if self._is_broken:
            self.break_off()
        await asyncio.wait((read, written, hand_over), return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            await asyncio.wait((written,), timeout=_FLUSH_S)
            read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        if not hand_over.done():
            await self._inbox.put(None)
        await asyncio.gather(hand_over, return_exceptions=True)
        self._session.close(self._farewell or "the agent left")
        await asyncio.wait((written,), timeout=0.0 if self._is_broken else _FLUSH_S)
        written.cancel()
        await asyncio.gather(written, return_exceptions=True)
        return self._farewell or self._session.close_reason

    def break_off(self) -> None:
        """The connection is gone: stop reading and writing."""
        self._is_broken = True
        for loop in self._loops:
            loop.cancel()

    def _close_soon(self) -> None:
        asyncio.get_running_loop().call_later(_FLUSH_S, self.break_off)

    async def _read(self, incoming: AsyncIterator[Message]) -> None:
        try:
            async for message in incoming:
                await self._inbox.put(message)
                if message.WhichOneof("body") == "goodbye":
                    self._farewell = "the agent said goodbye"
                    return
        finally:
            if not self._farewell and (self._is_broken and not self._session.close_reason):
                self._farewell = "the connection broke"

    async def _write(self, write: Callable[[Message], Awaitable[None]]) -> None:
        is_last = False
        while not is_last:
            message, is_last = await self._session.next_message()
            await write(message)

    async def _hand_over(self) -> None:
        is_over = False
        while not is_over:
            batch = [await self._inbox.get()]
            while len(batch) < self._batch_messages and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            is_over = None in batch
            try:
                await self._offload(self._deliver, [message for message in batch if message is not None])
            except Exception:  # noqa: BLE001 - a loop's top: the device must not hang on a fault of ours
                _log.exception("messages of device %s were not taken", self._session.device_id)
                self._session.close("the controller failed; try again", retry_after_ms=_RETRY_AFTER_FAULT_MS)
                return

    def _deliver(self, batch: Sequence[Message]) -> None:
        messages = []
        for wire in batch:
            try:
                message = codec.from_message(AgentMessage, wire)
            except CodecError as error:
                _log.warning("a message of device %s was dropped: %s", self._session.device_id, error)
                continue
            if message.body is not None and not isinstance(message.body, Goodbye):
                messages.append(message)
        if messages:
            self._sink.messages_received(self._session, messages)
