"""The buffers between paho and TLS: nothing is lost, nothing is kept without bound, an end is an end."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from muster_protos.mqtt.stream import BufferedStream


class Secure:
    """A TLS socket: gives what it was fed in records, takes ``room`` bytes."""

    def __init__(self, records: list[bytes], room: int = 10**9) -> None:
        self.records = records
        self.room = room
        self.sent = bytearray()
        self.reads = 0
        self.writes = 0
        self.is_closed = False

    def recv(self, size: int) -> bytes:
        self.reads += 1
        if not self.records:
            raise ssl.SSLWantReadError
        return self.records.pop(0)

    def send(self, piece: Any) -> int:
        self.writes += 1
        if not self.room:
            raise ssl.SSLWantWriteError
        taken = min(len(piece), self.room)
        self.sent += piece[:taken]
        self.room -= taken
        return taken

    def pending(self) -> int:
        return 0

    def close(self) -> None:
        self.is_closed = True


def stream_of(secure: Secure) -> BufferedStream:
    return BufferedStream(secure)  # type: ignore[arg-type]


def test_single_bytes_are_read_from_one_record() -> None:
    secure = Secure([b"abcdef", b"gh"])
    stream = stream_of(secure)
    assert [stream.recv(1), stream.recv(1), stream.recv(10)] == [b"a", b"b", b"cdef"]
    assert secure.reads == 1
    assert stream.pending() == 0
    assert stream.recv(10) == b"gh"
    with pytest.raises(ssl.SSLWantReadError):
        stream.recv(1)


def test_end_of_the_connection_is_no_byte() -> None:
    assert stream_of(Secure([b""])).recv(1) == b""


def test_packets_leave_together_and_in_order() -> None:
    secure = Secure([])
    stream = stream_of(secure)
    for number in range(100):
        assert stream.send(bytes([number])) == 1
    assert secure.writes == 0
    stream.flush()
    assert bytes(secure.sent) == bytes(range(100))
    assert secure.writes == 1
    assert not stream.has_unsent


def test_network_that_takes_little_holds_back_and_gets_everything_once() -> None:
    secure = Secure([], room=1000)
    stream = stream_of(secure)
    message = bytes(number % 251 for number in range(200_000))
    view, taken = memoryview(message), 0
    while taken < len(message):
        try:
            taken += stream.send(view[taken:])
        except BlockingIOError:
            assert stream.is_full
            secure.room = 7000
    assert len(message) - len(secure.sent) <= 64 * 1024
    secure.room = 10**9
    stream.flush()
    assert bytes(secure.sent) == message


def test_close_sends_the_last_word() -> None:
    secure = Secure([])
    stream = stream_of(secure)
    stream.send(b"bye")
    stream.close()
    assert bytes(secure.sent) == b"bye"
    assert secure.is_closed
