"""A TCP proxy on loopback that breaks on demand, for tests of links. What it draws follows from its seed.

In scope: what a network does to the bytes of a connection (latency, bandwidth, loss as TCP shows it, resets, silence,
half-open connections, slow ends). Not in scope: messages; a proxy sees TLS only.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass

_PIECE_BYTES = 64 * 1024
_SEGMENT_BYTES = 1448  # what Ethernet carries of TCP
_QUEUE_BYTES = 64 * 1024  # of a modem or an access point, while it is slow
_FAST_QUEUE_BYTES = 4 * 1024 * 1024
_SLOW_STEP_S = 0.05  # pieces of a slow connection are as long as passes in this time
_RTO_S = 0.2  # Linux' shortest retransmission time-out; doubles each time (RFC 6298, 5.5)
_MAX_RTO_S = 3.0
_LINGER_NONE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Weather:
    """What the bytes of every connection suffer, in each direction."""

    delay_s: float = 0.0  # one way
    bytes_per_s: float = 0.0  # 0 = as fast as it goes
    loss_ratio: float = 0.0  # of segments: each one lost holds up all behind it for a retransmission time-out
    reset_within_bytes: int = 0  # each connection is reset after a drawn number of bytes up to this; 0 = never
    close_delay_s: float = 0.0  # an end that one side has made known reaches the other so much later

    @property
    def is_slow(self) -> bool:
        return self.bytes_per_s > 0 or self.loss_ratio > 0


CALM = Weather()


class TcpProxy:
    """Forwards its own ``port`` to ``target_port``; ``returned_bytes`` counts what whoever dialled got back,
    ``connections`` how often somebody dialled.
    """

    def __init__(self, target_port: int, seed: int = 0, weather: Weather = CALM) -> None:
        """``weather`` may be changed at any time; what is on its way keeps what it had."""
        self.returned_bytes = 0
        self.connections = 0
        self.weather = weather
        self.target_port = target_port
        self.is_refusing = False  # hang up on whoever dials
        self.seed = seed
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._frozen: frozenset[bool] = frozenset()  # directions: True = towards whoever dialled
        self._is_closed = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def freeze(self, is_return: bool | None = None) -> None:
        """Become a black hole: connections stay open, nothing passes, new ones are accepted and not served.

        ``is_return``: only what goes back to whoever dialled (True), or only what he says (False), is swallowed up.
        """
        self._frozen |= frozenset((True, False) if is_return is None else (is_return,))

    def thaw(self) -> None:
        """Let everything pass again, what was held up too."""
        self._frozen = frozenset()
        for connection in self._connections():
            connection.wake()

    def reset(self) -> None:
        """Reset every open connection (RST)."""
        for connection in self._connections():
            connection.reset()

    def half_open(self, is_dialler_told: bool) -> None:
        """Every open connection is over for one side only, which is told by a reset; the other hears nothing."""
        for connection in self._connections():
            connection.half_open(is_dialler_told)

    def close(self) -> None:
        """Stop for good."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.reset()

    def is_frozen(self, is_return: bool) -> bool:
        """Whether this direction is a black hole."""
        return is_return in self._frozen

    def ended(self, connection: _Connection) -> None:
        """Called by a connection at its end."""
        with self._lock:
            self._open.discard(connection)

    def _connections(self) -> tuple[_Connection, ...]:
        with self._lock:
            return tuple(self._open)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self.is_refusing:
                    raise OSError
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                _break(near)
                continue
            with self._lock:
                self.connections += 1
                connection = _Connection(self, near, far, random.Random(f"{self.seed}/{self.connections}"))
                self._open.add(connection)
            connection.start()
            if self._is_closed:
                connection.reset()


class _Way:
    """One direction of a connection: what was read and is not due yet."""

    def __init__(self, source: socket.socket, target: socket.socket, is_return: bool) -> None:
        self.source = source
        self.target = target
        self.is_return = is_return
        self.is_silent = False  # one of its ends is gone without a word
        self.is_over = False
        self._waiting: deque[tuple[float, memoryview]] = deque()
        self._waiting_bytes = 0
        self._end_s: float | None = None  # the source has ended; when the target is told
        self._free_s = 0.0  # when the line has sent what it was given

    def wants(self, weather: Weather) -> bool:
        """Whether there is room for more."""
        limit = _QUEUE_BYTES if weather.is_slow else _FAST_QUEUE_BYTES
        return not self.is_silent and self._end_s is None and self._waiting_bytes < limit

    def read(self, weather: Weather, chance: random.Random) -> None:
        """Take what the source says, and decide when it arrives."""
        size = _PIECE_BYTES
        if weather.is_slow:
            size = max(_SEGMENT_BYTES, min(size, int(weather.bytes_per_s * _SLOW_STEP_S)))
        try:
            piece = self.source.recv(size)
        except BlockingIOError:
            return
        now_s = time.monotonic()
        if not piece:
            self._end_s = max(now_s, self._free_s) + weather.delay_s + weather.close_delay_s
            return
        sent_s = len(piece) / weather.bytes_per_s if weather.bytes_per_s else 0.0
        for _ in range(0, len(piece), _SEGMENT_BYTES):
            sent_s += _pause_s(weather.loss_ratio, chance)
        self._free_s = max(now_s, self._free_s) + sent_s
        self._waiting.append((self._free_s + weather.delay_s, memoryview(piece)))
        self._waiting_bytes += len(piece)

    def due_s(self) -> float | None:
        """When there is something to write, or to end; None when nothing waits."""
        return self._waiting[0][0] if self._waiting else self._end_s

    def write(self, now_s: float, budget: int) -> int:
        """Hand on what is due, at most ``budget`` bytes; how many went. BlockingIOError when the target is full."""
        written = 0
        while self._waiting and self._waiting[0][0] <= now_s and written < budget:
            due_s, piece = self._waiting[0]
            try:
                sent = self.target.send(piece[: budget - written])
            except BlockingIOError:
                if not written:
                    raise
                return written
            written += sent
            self._waiting_bytes -= sent
            if sent == len(piece):
                self._waiting.popleft()
            else:
                self._waiting[0] = (due_s, piece[sent:])
        if not self._waiting and self._end_s is not None and self._end_s <= now_s:
            with contextlib.suppress(OSError):
                self.target.shutdown(socket.SHUT_WR)
            self.is_over = True
        return written


class _Connection(threading.Thread):
    """Both directions; only its own thread touches the sockets, so that a reset is one."""

    def __init__(self, proxy: TcpProxy, near: socket.socket, far: socket.socket, chance: random.Random) -> None:
        super().__init__(name="proxy-connection", daemon=True)
        self._proxy = proxy
        self._near = near
        self._far = far
        self._chance = chance
        self._ways = (_Way(near, far, is_return=False), _Way(far, near, is_return=True))
        self._full: set[_Way] = set()  # whose target takes nothing now
        limit = proxy.weather.reset_within_bytes
        self._budget = chance.randint(1, limit) if limit else 1 << 62
        self._wish: str = ""  # "reset", "near", "far": what to break
        self._wish_lock = threading.Lock()
        self._wake_lock = threading.Lock()
        self._read_wake, self._write_wake = os.pipe()
        for each in (near, far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy.weather.is_slow:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_BYTES)

    def reset(self) -> None:
        with self._wish_lock:
            self._wish = "reset"
        self.wake()

    def half_open(self, is_dialler_told: bool) -> None:
        with self._wish_lock:
            self._wish = self._wish or ("near" if is_dialler_told else "far")
        self.wake()

    def wake(self) -> None:
        with self._wake_lock:  # or it might write to whoever has got the descriptor since
            if self._write_wake >= 0:
                os.write(self._write_wake, b"\0")

    def run(self) -> None:
        try:
            while self._wish != "reset" and not all(way.is_over for way in self._ways):
                self._turn()
        except OSError:
            pass  # one side has broken it: so it is for the other
        finally:
            self._proxy.ended(self)
            if all(way.is_over for way in self._ways):
                self._near.close()
                self._far.close()
            for each in (self._near, self._far):
                _break(each)
            with self._wake_lock:
                os.close(self._write_wake)
                self._write_wake = -1
            os.close(self._read_wake)

    def _turn(self) -> None:
        with self._wish_lock:
            side = self._wish if self._wish in ("near", "far") else ""
            if side:
                self._wish = "done"
        if side:
            _break(self._near if side == "near" else self._far)
            for way in self._ways:
                way.is_silent = True
        events = self._wait()
        weather = self._proxy.weather
        for way in self._ways:
            if way.is_silent or self._proxy.is_frozen(way.is_return):
                continue
            if way.source.fileno() in events and way.wants(weather):
                way.read(weather, self._chance)
            if way.target.fileno() in events:
                self._full.discard(way)
            self._write(way)

    def _write(self, way: _Way) -> None:
        try:
            written = way.write(time.monotonic(), self._budget)
        except BlockingIOError:
            self._full.add(way)
            return
        self._budget -= written
        if way.is_return:
            self._proxy.returned_bytes += written
        if self._budget <= 0:
            self._wish = "reset"

    def _wait(self) -> set[int]:
        poll, masks, timeout_s = select.poll(), dict[int, int](), None
        now_s = time.monotonic()
        for way in self._ways:
            if way.is_silent or self._proxy.is_frozen(way.is_return):
                continue
            if way.wants(self._proxy.weather):
                masks[way.source.fileno()] = masks.get(way.source.fileno(), 0) | select.POLLIN
            due_s = way.due_s()
            if way in self._full:
                masks[way.target.fileno()] = masks.get(way.target.fileno(), 0) | select.POLLOUT
            elif due_s is not None and not way.is_over:
                timeout_s = min(max(0.0, due_s - now_s), timeout_s if timeout_s is not None else 60.0)
        for descriptor, mask in masks.items():
            poll.register(descriptor, mask)
        poll.register(self._read_wake, select.POLLIN)
        events = {descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1e3)}
        if self._read_wake in events:
            os.read(self._read_wake, 4096)
        return events


def _pause_s(loss_ratio: float, chance: random.Random) -> float:
    """For how long one segment holds up the connection until it has arrived."""
    pause_s, timeout_s = 0.0, _RTO_S
    while loss_ratio and chance.random() < loss_ratio:
        pause_s += timeout_s
        timeout_s = min(2 * timeout_s, _MAX_RTO_S)
    return pause_s


def _break(stream: socket.socket) -> None:
    """Close it so that the other side sees a reset."""
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    stream.close()
