"""A TLS connection with a buffer for each direction: paho reads byte by byte and writes packet by packet, and each of
both would be a system call and a TLS record of its own.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

_READ_BYTES = 64 * 1024
_WRITE_BYTES = 64 * 1024
_RECORD_BYTES = 16 * 1024  # of TLS


class BufferedStream:
    """What paho uses of a socket, once it does not block any more; ``flush`` sends."""

    def __init__(self, secure: ssl.SSLSocket) -> None:
        self._secure = secure
        self._read = b""
        self._position = 0
        self._unsent = bytearray()

    @property
    def is_full(self) -> bool:
        """As much waits to be sent as may."""
        return len(self._unsent) >= _WRITE_BYTES

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes; raises as a socket does when there are none."""
        if self._position >= len(self._read):
            self._read, self._position = b"", 0
            self._read = self._secure.recv(_READ_BYTES)
        piece = self._read[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def send(self, piece: bytes | memoryview) -> int:
        """Take what fits; the number of bytes that did."""
        if self.is_full:
            self.flush()
        if self.is_full:
            raise BlockingIOError
        room = _WRITE_BYTES - len(self._unsent)
        self._unsent += piece[:room]
        return min(room, len(piece))

    def flush(self) -> None:
        """Send what waits, as far as the network takes it; OSError when the connection is gone."""
        with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
            while self._unsent:
                sent = self._secure.send(self._unsent[:_RECORD_BYTES])
                del self._unsent[:sent]

    def pending(self) -> int:
        """Bytes that were received and not yet read."""
        return len(self._read) - self._position + self._secure.pending()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.flush()
        self._secure.close()

    def fileno(self) -> int:
        return self._secure.fileno()

    def setblocking(self, is_blocking: bool) -> None:
        self._secure.setblocking(is_blocking)


def dial(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> BufferedStream:
    """Connect and shake hands; OSError when either fails or takes longer than ``timeout_s``."""
    plain = socket.create_connection((host, port), timeout=timeout_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or small packets wait for acknowledgements
        secure = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        secure.do_handshake()
    except BaseException:
        secure.close()
        raise
    return BufferedStream(secure)
