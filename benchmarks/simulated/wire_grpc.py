"""``muster.v1.Link/Connect`` in HTTP/2 frames: RFC 9113, and gRPC over HTTP/2
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). One stream, no compression, no HPACK table.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Any

from simulated.wire import ANSWER_S, Ear, Wire, parse

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW_SIZE = 4  # of SETTINGS
_LARGEST_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65_535
_STREAM = 1
_FRAME_BYTES = 16_384


class GrpcWire(Wire):
    """A session begins with the controller's headers and ends with its trailers."""

    def __init__(self, ear: Ear, authority: str) -> None:
        super().__init__(ear)
        self._authority = authority
        self._frames = bytearray()
        self._messages = bytearray()
        self._unsent: deque[bytes] = deque()
        self._window = {0: _FIRST_WINDOW, _STREAM: _FIRST_WINDOW}  # what the controller lets us send
        self._first_window = _FIRST_WINDOW

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        settings = struct.pack("!HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        grow = struct.pack("!I", _LARGEST_WINDOW - _FIRST_WINDOW)
        transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, grow)
            + _frame(_HEADERS, _END_HEADERS, _STREAM, _headers(self._authority))
        )

        self._timer = asyncio.get_running_loop().call_later(ANSWER_S, self._give_up)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(error)

    def say(self, message: bytes, kind: str) -> None:  # noqa: ARG002 - one stream for all kinds
        data = b"\0" + struct.pack("!I", len(message)) + message
        self._unsent.extend(data[start : start + _FRAME_BYTES] for start in range(0, len(data), _FRAME_BYTES))
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._frames += data
        while len(self._frames) >= 9:
            size = int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < 9 + size:
                return
            kind, flags, stream = self._frames[3], self._frames[4], int.from_bytes(self._frames[5:9], "big")
            payload = bytes(self._frames[9 : 9 + size])
            del self._frames[: 9 + size]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case 0:
                self._take_data(payload)
            case 1:
                if flags & _END_STREAM:
                    self._end("the controller ended the stream" if self._is_open else "the controller refused")
                    self.hang_up()
                else:
                    self._open()
            case 4 if not flags & _ACK:
                self._take_settings(payload)
            case 6 if not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, payload))
            case 8:
                self._window[stream] = self._window.get(stream, 0) + int.from_bytes(payload, "big")
                self._flush()
            case 3 | 7:
                self._end("the stream was reset" if kind == _RST_STREAM else "the controller goes away")
                self.hang_up()
            case _:
                pass  # PRIORITY, PUSH_PROMISE, CONTINUATION and acknowledgements: nothing to do

    def _take_data(self, payload: bytes) -> None:
        self._messages += payload
        while len(self._messages) >= 5:
            size = int.from_bytes(self._messages[1:5], "big")
            if len(self._messages) < 5 + size:
                return
            message = bytes(self._messages[5 : 5 + size])
            del self._messages[: 5 + size]
            self._hear(parse(message))

    def _take_settings(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            name, value = struct.unpack_from("!HI", payload, start)
            if name == _INITIAL_WINDOW_SIZE:
                self._window[_STREAM] += value - self._first_window
                self._first_window = value
        self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        self._flush()

    def _flush(self) -> None:
        frames = []
        while self._unsent and len(self._unsent[0]) <= min(self._window[0], self._window[_STREAM]):
            data = self._unsent.popleft()
            self._window[0] -= len(data)
            self._window[_STREAM] -= len(data)
            frames.append(_frame(_DATA, 0, _STREAM, data))
        if frames and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(frames))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _headers(authority: str) -> bytes:
    """HPACK (RFC 7541): static names, literal values, nothing indexed."""
    return b"".join(
        (
            b"\x83",  # :method POST
            b"\x87",  # :scheme https
            b"\x04" + _text("/muster.v1.Link/Connect"),  # :path
            b"\x01" + _text(authority),  # :authority
            b"\x0f\x10" + _text("application/grpc"),  # content-type
            b"\x00" + _text("te") + _text("trailers"),
        )
    )


def _text(value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) > 126:
        raise ValueError("expected a short text")
    return bytes([len(raw)]) + raw
