"""One keep-alive HTTP/1.1 connection that carries one request at a time; small on purpose."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the variant that answered as its header names it."""

    status: int
    variant_id: str
    body: bytes


class Exchange(asyncio.Protocol):
    """Sends ready-made request bytes and reads the answer. Responses must carry a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._needed: int | None = None
        self._head: tuple[int, str, int] = (0, "", 0)

    @classmethod
    async def open(cls, host: str, port: int) -> Exchange:
        """Connect.

        Raises:
            OSError: nobody listens there.
        """
        _, exchange = await asyncio.get_running_loop().create_connection(cls, host, port)
        return exchange

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send and wait for the answer.

        Raises:
            ConnectionError: the other side hung up or answered nonsense.
            TimeoutError: no answer in time; the connection is closed.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._expire)
        try:
            return await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionResetError(f"the connection ended: {exc or 'closed by the other side'}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            answer = self._parse()
        except ValueError as error:
            self._fail(ConnectionAbortedError(f"expected an HTTP/1.1 answer, found something else: {error}"))
            self.close()
            return
        if answer is not None and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def _parse(self) -> Answer | None:
        if self._needed is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._needed = self._head[2]
        if len(self._buffer) < self._needed:
            return None
        body = bytes(self._buffer[: self._needed])
        del self._buffer[: self._needed]
        self._needed = None
        return Answer(self._head[0], self._head[1], body)

    def _expire(self) -> None:
        self._fail(TimeoutError("no answer in time"))
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def _parse_head(head: bytes) -> tuple[int, str, int]:
    status_line, *lines = head.split(b"\r\n")
    version, status, *_ = status_line.split(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError(f"status line {status_line[:80]!r}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    length = int(headers.get(b"content-length", b"0"))
    if not 0 <= length <= _LIMIT_BYTES:
        raise ValueError(f"content length {length}")
    return int(status), headers.get(b"muster-variant", b"").decode("latin-1"), length
