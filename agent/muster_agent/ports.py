"""What the agent's daemon needs from the outside.

The daemon is synchronous and threaded: nothing here needs asyncio, so an agent that speaks only MQTT never imports it.
Adapters: ``adapters/link_grpc.py``, ``adapters/state_sqlite.py``, ``adapters/cache_folder.py``,
``adapters/verifier_child.py``; in-memory ones ship in ``testing.py``. One contract-test class per port.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from muster_protos.envelope import Verifier
from muster_protos.model import AgentMessage, Chunk, ControllerMessage, SigningKey

__all__ = ["Clock", "Link", "LinkSink", "Verifier"]


class Clock(Protocol):
    """Wall and monotonic time, and a wait that a test can drive."""

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...
    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until ``event`` is set or the time is over; True when it was set."""
        ...


class LinkSink(Protocol):
    """What a link tells the daemon, from a thread of the link's own. Calls must return fast."""

    def online(self) -> None:
        """A session is up: the daemon answers with Hello, its reported state and everything unacknowledged."""
        ...

    def offline(self, reason: str) -> None: ...
    def received(self, message: ControllerMessage) -> None: ...


class Link(Protocol):
    """One way to reach the controller. Reconnects by itself with full jitter until it is closed."""

    name: str  # "grpc", "mqtt"

    def start(self, sink: LinkSink) -> None: ...
    def send(self, message: AgentMessage) -> bool:
        """Hand over a message without blocking; False when there is no session or its queue is full.

        True means queued, not stored: a report is done only when its ReportAck arrives.
        """
        ...

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        """Stream an artifact from ``offset`` to its end, blocking; ``on_chunk`` gets the chunks in order.

        Raises:
            TemporaryError: the link broke; what arrived stays, call again with a higher offset.
            NotFoundError: the controller does not have it, or not for this device; final.
            InterruptedError: ``stop`` was set.
        """
        ...

    def renew(self, csr_pem: bytes) -> tuple[bytes, tuple[SigningKey, ...]]:
        """A fresh certificate for the same key holder (PEM) and today's signing keys."""
        ...

    def close(self) -> None:
        """Say goodbye and stop; safe to call twice."""
        ...
