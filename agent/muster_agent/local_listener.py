"""The agent's end of the local socket: who is connected, what each may serve, and what they say.

One thread of its own; sends never block the caller. Grants and caps are kept here per model, so that a process that
connects later (an app with ``muster.Serving``, a serving child after a restart of the agent) gets the same. A grant
on trial is the serving child's alone: apps get it once the child has answered that it serves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from muster_agent.local_socket import MAX_FRAME_BYTES, FrameReader, LocalBody, bind, frame
from muster_protos.errors import CodecError
from muster_protos.model import (
    Event,
    LocalCap,
    LocalFailed,
    LocalGrant,
    LocalHello,
    LocalReady,
    LocalStatus,
    LocalStop,
)

log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 128  # serving children and apps

_REST_S = 1.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A process that serves a model."""

    model_id: str
    pid: int  # as the kernel names it, not as the process says
    is_child: bool  # a serving child; otherwise an app with ``muster.Serving``


class ServingSink(Protocol):
    """What serving processes tell the daemon, from a thread of the listener's own. Calls must return fast."""

    def on_ready(self, peer: Peer, ready: LocalReady) -> None: ...
    def on_failed(self, peer: Peer, failed: LocalFailed) -> None: ...
    def on_status(self, peer: Peer, status: LocalStatus) -> None: ...
    def on_event(self, peer: Peer, event: Event) -> None: ...
    def on_exit(self, peer: Peer, reason: str) -> None:
        """A serving child ended without being asked to; never called for apps."""
        ...


@dataclass(slots=True, eq=False)
class _Connection:
    stream: socket.socket
    pid: int
    reader: FrameReader = field(default_factory=FrameReader)
    outgoing: bytearray = field(default_factory=bytearray)
    peer: Peer | None = None
    is_ending: bool = False  # close when everything is written


class LocalListener:
    """Listens on the agent's Unix socket.

    Invariants: every connection belongs to the thread except its ``outgoing`` bytes, which ``_lock`` guards;
    a peer that does not read loses its connection once 16 MiB wait for it.
    """

    def __init__(self, path: Path, sink: ServingSink) -> None:
        self.path = path
        self.sink = sink
        self._lock = threading.Lock()
        self._grants: dict[str, LocalGrant] = {}  # what everybody may serve
        self._expected: set[str] = set()  # models that are likely to be granted soon
        self._trials: dict[str, LocalGrant] = {}  # what the serving child is trying
        self._caps: dict[str, LocalCap] = {}
        self._connections: list[_Connection] = []
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        self._is_closing = False
        self._deaf_until_s: float | None = None  # no descriptor was left for a new connection
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="local-listener", daemon=True)

    def start(self) -> None:
        """Open the socket (0600) and begin to listen.

        Raises:
            OSError: the folder cannot be written.
        """
        self._listener = bind(self.path)
        self._listener.setblocking(False)
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop every connection; serving children keep serving for ten seconds."""
        self._is_closing = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        for closing in (self._wake_in, self._wake_out):
            closing.close()

    def grant(self, grant: LocalGrant) -> None:
        """Grant (or replace) what may be served of ``grant.model_id``, now and to whoever connects later."""
        with self._lock:
            self._grants[grant.model_id] = grant
        self._send_all(grant.model_id, grant)

    def expect(self, model_ids: Iterable[str]) -> None:
        """Models of an earlier life: apps that ask for them wait for their grant and are not sent away."""
        with self._lock:
            self._expected |= set(model_ids)

    def begin_trial(self, grant: LocalGrant) -> None:
        """Let the serving child alone try a grant; apps keep the one they have until ``accept_trial``."""
        with self._lock:
            self._trials[grant.model_id] = grant
            self._queue(self._serving(grant.model_id, is_child=True), grant)
        self._wake()

    def accept_trial(self, grant: LocalGrant) -> None:
        """The serving child serves it: grant it to apps too. Does nothing when it was revoked meanwhile."""
        with self._lock:
            if self._trials.get(grant.model_id) != grant:
                return
            self._grants[grant.model_id] = self._trials.pop(grant.model_id)
            self._queue(self._serving(grant.model_id, is_child=False), grant)
        self._wake()

    def reject_trial(self, grant: LocalGrant) -> None:
        """The trial failed: the serving child gets the grant of before again, should it have come up late."""
        with self._lock:
            if self._trials.get(grant.model_id) != grant:
                return
            del self._trials[grant.model_id]
            before = self._grants.get(grant.model_id)
            if before is not None:
                self._queue(self._serving(grant.model_id, is_child=True), before)
        self._wake()

    def cap(self, model_id: str, cap: LocalCap) -> None:
        """Set the highest rung that may be active."""
        with self._lock:
            self._caps[model_id] = cap
        self._send_all(model_id, cap)

    def revoke(self, model_id: str, reason: str) -> None:
        """Take the grant back: everybody who serves the model is told to finish and stop."""
        with self._lock:
            self._grants.pop(model_id, None)
            self._trials.pop(model_id, None)
            self._expected.discard(model_id)
            self._caps.pop(model_id, None)
        self._send_all(model_id, LocalStop(reason))

    def peers(self, model_id: str) -> tuple[Peer, ...]:
        """Who serves the model now."""
        with self._lock:
            return tuple(c.peer for c in self._connections if c.peer is not None and c.peer.model_id == model_id)

    def send(self, pid: int, body: LocalBody) -> bool:
        """Send to one peer; False when it is not connected."""
        with self._lock:
            targets = [c for c in self._connections if c.peer is not None and c.peer.pid == pid]
            self._queue(targets, body)
        self._wake()
        return bool(targets)

    def _send_all(self, model_id: str, body: LocalBody) -> None:
        with self._lock:
            self._queue([c for c in self._connections if c.peer is not None and c.peer.model_id == model_id], body)
        self._wake()

    def _serving(self, model_id: str, is_child: bool) -> list[_Connection]:
        """Serving children, or apps, of a model; the caller holds the lock."""
        return [
            connection
            for connection in self._connections
            if connection.peer is not None
            and (connection.peer.model_id, connection.peer.is_child) == (model_id, is_child)
        ]

    def _queue(self, targets: list[_Connection], body: LocalBody) -> None:
        data = frame(body)
        for connection in targets:
            connection.outgoing += data

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: already awake; or closed
            self._wake_in.send(b"\0")

    # ---- the thread ----

    def _run(self) -> None:
        while not self._is_closing:
            for key, events in self._selector.select(self._rest_s()):
                try:
                    self._turn(key, events)
                except Exception:  # the loop's top: one bad message must not deafen the agent
                    log.exception("a message of a local process could not be used")
            self._arm_writers()
        self._shut()

    def _rest_s(self) -> float | None:
        """How long new processes still have to wait; None when they have not."""
        if self._deaf_until_s is None:
            return None
        left_s = self._deaf_until_s - time.monotonic()
        if left_s > 0:
            return left_s
        assert self._listener is not None
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._deaf_until_s = None
        return None

    def _turn(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj is self._listener:
            self._accept()
        elif key.fileobj is self._wake_out:
            self._wake_out.recv(4096)
        else:
            self._serve(key.data, events)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            stream, _ = self._listener.accept()
        except OSError as error:
            log.warning("a local process could not connect, the next may in %g s: %s", _REST_S, error)
            self._selector.unregister(self._listener)  # it stays readable: accepting again at once would burn a core
            self._deaf_until_s = time.monotonic() + _REST_S
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            log.warning("a local process was sent away: %d are connected", len(self._connections))
            stream.close()
            return
        stream.setblocking(False)
        connection = _Connection(stream, _peer_pid(stream))
        self._selector.register(stream, selectors.EVENT_READ, connection)
        with self._lock:
            self._connections.append(connection)

    def _serve(self, connection: _Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._write(connection)
            if events & selectors.EVENT_READ:
                data = connection.stream.recv(256 * 1024)
                if not data:
                    self._drop(connection)
                    return
                for body in connection.reader.feed(data):
                    self._received(connection, body)
        except BlockingIOError:
            return
        except (OSError, CodecError) as error:
            log.info("connection of process %d ends: %s", connection.pid, error)
            self._drop(connection)

    def _write(self, connection: _Connection) -> None:
        with self._lock:
            sent = connection.stream.send(memoryview(bytes(connection.outgoing[: 1024 * 1024])))
            del connection.outgoing[:sent]

    def _arm_writers(self) -> None:
        for connection in list(self._connections):
            waiting = len(connection.outgoing)
            if waiting > MAX_FRAME_BYTES or (connection.is_ending and not waiting):
                self._drop(connection)
                continue
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
            if self._selector.get_key(connection.stream).events != wanted:
                self._selector.modify(connection.stream, wanted, connection)

    def _received(self, connection: _Connection, body: LocalBody) -> None:
        if isinstance(body, LocalHello):
            self._hello(connection, body)
            return
        peer = connection.peer
        if peer is None:
            raise CodecError(f"expected LocalHello first, found {type(body).__name__}")
        if isinstance(body, Event):
            self.sink.on_event(peer, body)
        elif isinstance(body, LocalStatus):
            self.sink.on_status(peer, body)
        elif isinstance(body, LocalReady):
            self.sink.on_ready(peer, body)
        elif isinstance(body, LocalFailed):
            self.sink.on_failed(peer, body)

    def _hello(self, connection: _Connection, hello: LocalHello) -> None:
        peer = Peer(hello.model_id, connection.pid, hello.is_child)
        with self._lock:
            connection.peer = peer
            grant, cap = self._grants.get(hello.model_id), self._caps.get(hello.model_id)
            trial = self._trials.get(hello.model_id)
            if trial is not None and hello.is_child:
                grant = trial
            if grant is not None:
                self._queue([connection], grant)
            if cap is not None:
                self._queue([connection], cap)
            may_come = trial is not None or hello.model_id in self._expected
            if grant is None and not may_come and not hello.is_child:
                known = ", ".join(sorted(self._grants)) or "none"
                reason = f"expected a model that is rolled out to this device ({known}), found {hello.model_id!r}"
                self._queue([connection], LocalStop(reason))
                connection.is_ending = True

    def _drop(self, connection: _Connection) -> None:
        with self._lock:
            if connection not in self._connections:
                return
            self._connections.remove(connection)
        self._selector.unregister(connection.stream)
        connection.stream.close()

    def _shut(self) -> None:
        for connection in list(self._connections):
            self._flush(connection)
            self._drop(connection)
        self._selector.close()
        if self._listener is not None:
            self._listener.close()
        self.path.unlink(missing_ok=True)

    def _flush(self, connection: _Connection) -> None:
        connection.stream.settimeout(0.2)
        try:
            connection.stream.sendall(connection.outgoing)
        except OSError as error:
            log.info("process %d did not take its last message: %s", connection.pid, error)


def _peer_pid(stream: socket.socket) -> int:
    credentials = struct.Struct("3i")
    pid, _, _ = credentials.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return int(pid) if pid > 0 else os.getpid()
