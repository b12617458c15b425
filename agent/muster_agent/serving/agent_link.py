"""This process's end of the agent's local socket, with a thread of its own.

The agent may die and come back: this end connects again for ten seconds, sends what it could not send meanwhile, and
serves on. After ten seconds without an agent a serving child ends; an app is told and keeps trying.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from muster_agent.local_socket import FrameReader, LocalBody, connect, frame
from muster_protos.errors import CodecError
from muster_protos.model import LocalHello, LocalStatus

log = logging.getLogger(__name__)

GIVE_UP_AFTER_S = 10.0
_RETRY_S = 0.2
_UNSENT = 1000  # events kept while nobody listens; the oldest go first


class AgentLink:
    """Keeps one connection to the agent.

    Callbacks come from the link's thread: ``on_body`` for every message, ``on_connected`` after each LocalHello,
    ``on_lost`` once for every ten seconds without an agent.
    """

    def __init__(
        self,
        path: Path,
        hello: LocalHello,
        on_body: Callable[[LocalBody], None],
        on_connected: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._path = path
        self._hello = hello
        self._on_body, self._on_connected, self._on_lost = on_body, on_connected, on_lost
        self._lock = threading.Lock()
        self._stream: socket.socket | None = None
        self._unsent: deque[LocalBody] = deque(maxlen=_UNSENT)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agent-link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, body: LocalBody) -> None:
        """Send now, or when the agent is back; a status is of the moment and not kept."""
        with self._lock:
            if not self._try_send(body) and not isinstance(body, LocalStatus):
                self._unsent.append(body)

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._stream is not None:
                self._stream.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        last_seen_s = time.monotonic()
        reason = ""
        while not self._closed.is_set():
            try:
                stream = connect(self._path, timeout_s=5)
            except OSError as error:
                reason = str(error)
            else:
                reason = self._converse(stream) or reason
                last_seen_s = time.monotonic()
            if time.monotonic() - last_seen_s > GIVE_UP_AFTER_S:
                self._on_lost(f"no agent at {self._path} for {GIVE_UP_AFTER_S:.0f} s: {reason}")
                last_seen_s = time.monotonic()
            self._closed.wait(_RETRY_S)

    def _converse(self, stream: socket.socket) -> str:
        """Talk until the connection ends; says why it did."""
        reader = FrameReader()
        try:
            stream.sendall(frame(self._hello))
            with self._lock:
                self._stream = stream
                while self._unsent and self._try_send(self._unsent[0]):
                    self._unsent.popleft()
            self._on_connected()
            stream.settimeout(None)
            while data := stream.recv(256 * 1024):
                for body in reader.feed(data):
                    self._on_body(body)
            return "the agent hung up"
        except (OSError, CodecError) as error:
            return str(error)
        finally:
            with self._lock:
                self._stream = None
            stream.close()

    def _try_send(self, body: LocalBody) -> bool:
        if self._stream is None:
            return False
        try:
            self._stream.sendall(frame(body))
        except OSError as error:
            log.info("the agent did not take a %s: %s", type(body).__name__, error)
            return False
        return True
