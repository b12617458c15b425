"""What waits to be published: sessions in turn, so that none starves another, and single packets between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

_MAX_POSTED = 10_000


@dataclass(frozen=True, slots=True)
class Packet:
    """One message for the broker; ``on_done`` is called once, when it was published or given up."""

    topic: str
    payload: bytes
    qos: int = 1
    is_retained: bool = False
    on_done: Callable[[], None] | None = None


class Source(Protocol):
    """Has packets of its own, and tells when there are some again."""

    def next_packet(self) -> Packet | None: ...


class Outgoing:
    """Filled from any thread, emptied by the link's. Bounded by its sources and ``_MAX_POSTED``."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._ready: deque[Source] = deque()
        self._is_ready: set[int] = set()
        self._posted: deque[Packet] = deque()

    def add(self, source: Source) -> None:
        """``source`` has something to say."""
        with self._lock:
            if id(source) in self._is_ready:
                return
            self._is_ready.add(id(source))
            self._ready.append(source)
        self._wake()

    def post(self, packet: Packet) -> None:
        """Queue one packet. An answer is dropped where too many wait: whoever misses it asks again."""
        with self._lock:
            if len(self._posted) >= _MAX_POSTED and not packet.is_retained and packet.on_done is None:
                return
            self._posted.append(packet)
        self._wake()

    def next_packets(self) -> tuple[Packet, ...]:
        """One that was posted and one of a session, at most; none when nothing waits."""
        with self._lock:
            posted = (self._posted.popleft(),) if self._posted else ()
        packet = self._next_of_sources()
        return posted if packet is None else (*posted, packet)

    def _next_of_sources(self) -> Packet | None:
        while True:
            with self._lock:
                if not self._ready:
                    return None
                source = self._ready.popleft()
                self._is_ready.discard(id(source))
            packet = source.next_packet()
            if packet is not None:
                self.add(source)
                return packet

    def clear(self) -> None:
        """Give up what waits: the connection is over."""
        with self._lock:
            posted, self._posted = self._posted, deque()
            self._ready.clear()
            self._is_ready.clear()
        for packet in posted:
            if packet.on_done is not None:
                packet.on_done()
