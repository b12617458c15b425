"""A TCP proxy on loopback that breaks on demand, for tests of links."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_PIECE_BYTES = 64 * 1024


class TcpProxy:
    """Forwards its own ``port`` to ``target_port``; ``returned_bytes`` counts what whoever dialled got back,
    ``connections`` how often somebody dialled.
    """

    def __init__(self, target_port: int) -> None:
        self.returned_bytes = 0
        self.connections = 0
        self._target_port = target_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._is_closed = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def freeze(self) -> None:
        """Become a black hole: connections stay open, nothing passes, new ones are accepted and not served."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything pass again."""
        self._flowing.set()

    def reset(self) -> None:
        """Reset every open connection (RST)."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the pump that reads it
            each.close()

    def close(self) -> None:
        """Stop for good."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._flowing.set()
        self.reset()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                if self._is_closed:
                    return
                near.close()
                continue
            with self._lock:
                self._sockets += [near, far]
                self.connections += 1
            threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_return: bool) -> None:
        try:
            while piece := source.recv(_PIECE_BYTES):
                self._flowing.wait()
                target.sendall(piece)
                if is_return:
                    self.returned_bytes += len(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
