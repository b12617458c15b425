"""Frames and addresses of the agent's local socket."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.local_socket import MAX_FRAME_BYTES, FrameReader, bind, connect, frame
from muster_protos.errors import CodecError
from muster_protos.model import LocalCap, LocalHello, LocalStatus, LocalStop

BODIES = (LocalHello("kws", 7, True), LocalCap(2, "hot"), LocalStatus("v", answered=3, p50_ns=None), LocalStop())


@given(st.integers(1, 40))
def test_messages_survive_any_cut_of_the_stream(piece: int) -> None:
    stream, reader = b"".join(frame(body) for body in BODIES), FrameReader()
    found = [body for start in range(0, len(stream), piece) for body in reader.feed(stream[start : start + piece])]
    assert tuple(found) == BODIES


def test_a_message_of_a_newer_version_is_skipped() -> None:
    unknown = b"\xfa\x07\x00"  # field 127, empty message
    stream = struct.pack(">I", len(unknown)) + unknown + frame(LocalStop("done"))
    assert list(FrameReader().feed(stream)) == [LocalStop("done")]


def test_an_endless_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(CodecError, match="at most"):
        list(FrameReader().feed(struct.pack(">I", MAX_FRAME_BYTES + 1)))


@given(st.binary(max_size=200))
def test_random_bytes_are_a_codec_error_or_nothing(data: bytes) -> None:
    reader = FrameReader()
    with contextlib.suppress(CodecError):
        list(reader.feed(data))


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / ("deeper" * 20)
    folder.mkdir(parents=True)
    with bind(folder / "serving.sock") as listening, connect(folder / "serving.sock", 5) as stream:
        accepted, _ = listening.accept()
        with accepted:
            stream.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_a_dead_processs_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "serving.sock"
    bind(path).close()
    with bind(path), connect(path, 5) as stream:
        assert isinstance(stream, socket.socket)


def test_nobody_listening_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        connect(tmp_path / "serving.sock")
