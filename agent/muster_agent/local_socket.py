"""Frames of the agent's Unix socket: a 4-byte big-endian length, then one ``LocalMessage``.

Used by the agent's listener, by serving processes and by apps. Imports neither asyncio nor numpy.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from muster_protos.codec import decode, encode
from muster_protos.errors import CodecError
from muster_protos.model import (
    Event,
    LocalCap,
    LocalFailed,
    LocalGrant,
    LocalHello,
    LocalMessage,
    LocalReady,
    LocalStatus,
    LocalStop,
)

LocalBody = LocalGrant | LocalCap | LocalStop | LocalHello | LocalReady | LocalFailed | LocalStatus | Event
T = TypeVar("T")

MAX_FRAME_BYTES = 16 * 1024 * 1024
_HEADER = struct.Struct(">I")
_MAX_PATH_BYTES = 100  # sun_path holds 108 on Linux


def frame(body: LocalBody) -> bytes:
    """One message as it crosses the socket.

    Raises:
        CodecError: longer than ``MAX_FRAME_BYTES``.
    """
    payload = encode(LocalMessage(body))
    if len(payload) > MAX_FRAME_BYTES:
        raise CodecError(f"expected a frame of at most {MAX_FRAME_BYTES} bytes, found {len(payload)}")
    return _HEADER.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[LocalBody]:
        """Yield every message that is complete with ``data``; bodies of a newer version are skipped.

        Raises:
            CodecError: the other side does not speak this protocol; close the connection.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise CodecError(f"expected a frame of at most {MAX_FRAME_BYTES} bytes, found {length}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            body = decode(LocalMessage, payload).body
            if body is not None:
                yield body


def bind(path: Path) -> socket.socket:
    """A listening socket at ``path``, for its owner alone (0600). Replaces a socket that a dead process left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    at_address(path, listener.bind)
    path.chmod(0o600)  # before listen(): until then nobody can connect
    listener.listen(16)
    return listener


def connect(path: Path, timeout_s: float | None = None) -> socket.socket:
    """A stream to the agent that listens at ``path``.

    Raises:
        OSError: nobody listens there.
    """
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(timeout_s)
    try:
        at_address(path, stream.connect)
    except OSError:
        stream.close()
        raise
    return stream


def at_address(path: Path, use: Callable[[str], T]) -> T:
    """Call ``use`` with an address of ``path`` that is short enough for a Unix socket, however deep the folder is."""
    if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
        return use(str(path))
    with _folder(path.parent) as descriptor:
        return use(f"/proc/self/fd/{descriptor}/{path.name}")


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
