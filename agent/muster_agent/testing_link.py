"""The Link port without a network, for tests: it dials a Switchboard in the same process.

The controller's half is ``muster_controller.testing_link.MemorySwitchboard``. Both pass the same contract tests as
gRPC: bytes cross as they would on a wire, refusals and goodbyes mean the same.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from muster_agent.outbox import Outbox
from muster_agent.ports import LinkSink
from muster_agent.redial import Redial
from muster_protos import codec
from muster_protos.errors import TemporaryError, UnreachableError
from muster_protos.model import AgentMessage, Chunk, ControllerMessage, Goodbye, RenewResponse


class Line(Protocol):
    """An accepted session, seen from the device."""

    def send(self, payload: bytes) -> None: ...
    def hang_up(self) -> None: ...


class Switchboard(Protocol):
    """A controller in the same process. Errors are MusterErrors, as a real link translates them."""

    def connect(self, certificate_pem: bytes, deliver: Callable[[bytes | None], None]) -> Line | Goodbye:
        """An accepted session, or the reason why there is none. ``deliver(None)`` tells the session's end."""
        ...

    def fetch(self, certificate_pem: bytes, sha256: str, offset: int) -> Iterator[Chunk]: ...
    def renew(self, certificate_pem: bytes, csr_pem: bytes) -> RenewResponse: ...


class MemoryLink:
    """Reconnects by itself, within ``retry_s`` seconds."""

    name = "memory"
    is_proven = True

    def __init__(self, switchboard: Switchboard, certificate_pem: bytes, retry_s: float = 0.02) -> None:
        self._switchboard = switchboard
        self._certificate_pem = certificate_pem
        self._redial = Redial(retry_s, retry_s, lambda: 1.0)
        self._closing = threading.Event()
        self._outbox: Outbox | None = None
        self._thread: threading.Thread | None = None

    def start(self, sink: LinkSink) -> None:
        self._thread = threading.Thread(target=self._run, args=(sink,), name="link-memory", daemon=True)
        self._thread.start()

    def send(self, message: AgentMessage) -> bool:
        outbox = self._outbox
        return outbox is not None and outbox.push(message)

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        if self._outbox is None:
            raise UnreachableError("expected a session, found none; it reconnects by itself")
        for chunk in self._switchboard.fetch(self._certificate_pem, sha256, offset):
            if self._outbox is None:
                raise TemporaryError("the link broke")
            on_chunk(chunk)
            if stop.is_set():
                raise InterruptedError("the fetch was stopped")

    def renew(self, csr_pem: bytes) -> RenewResponse:
        if self._outbox is None:
            raise UnreachableError("expected a session, found none; it reconnects by itself")
        return self._switchboard.renew(self._certificate_pem, csr_pem)

    def reconnect(self, reason: str) -> None:
        outbox = self._outbox
        if outbox is not None:
            outbox.push(AgentMessage(Goodbye(reason)))
            outbox.close()

    def close(self) -> None:
        self._closing.set()
        outbox = self._outbox
        if outbox is not None:
            outbox.push(AgentMessage(Goodbye("the agent stops")))
            outbox.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def _run(self, sink: LinkSink) -> None:
        while not self._closing.is_set():
            goodbye = self._hold_session(sink)
            if goodbye.is_revoked:
                return
            self._closing.wait(self._redial.next_s(goodbye.retry_after_ms / 1e3))

    def _hold_session(self, sink: LinkSink) -> Goodbye:
        incoming: queue.Queue[bytes | None] = queue.Queue()
        line = self._switchboard.connect(self._certificate_pem, incoming.put)
        if isinstance(line, Goodbye):
            if line.is_revoked:
                sink.received(ControllerMessage(line))
            return line
        outbox = Outbox()
        sender = threading.Thread(target=_drain, args=(outbox, line), name="link-memory-send", daemon=True)
        sender.start()
        self._outbox = outbox
        goodbye = Goodbye("the link broke")
        sink.online()
        while (payload := incoming.get()) is not None:
            message = codec.decode(ControllerMessage, payload)
            if isinstance(message.body, Goodbye):
                goodbye = message.body
            sink.received(message)
        self._outbox = None
        outbox.clear()
        outbox.close()
        sender.join(5.0)
        sink.offline(goodbye.reason)
        return goodbye


@dataclass
class RecordingLinkSink:
    """A LinkSink that remembers what a link told it; ``on_online`` stands in for the daemon's answer."""

    on_online: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)  # "online", "offline: <reason>", in order
    messages: list[ControllerMessage] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # why no session came about
    changed: threading.Condition = field(default_factory=threading.Condition)

    def online(self) -> None:
        self.on_online()
        self._note("online")

    def offline(self, reason: str) -> None:
        self._note(f"offline: {reason}")

    def unreached(self, reason: str) -> None:
        with self.changed:
            self.failures.append(reason)
            self.changed.notify_all()

    def received(self, message: ControllerMessage) -> None:
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()

    def wait_for(self, is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Block until ``is_true``; AssertionError when it does not become so."""
        with self.changed:
            if not self.changed.wait_for(is_true, timeout_s):
                raise AssertionError(f"not within {timeout_s} s; calls so far: {self.calls}")

    def _note(self, call: str) -> None:
        with self.changed:
            self.calls.append(call)
            self.changed.notify_all()


def _drain(outbox: Outbox, line: Line) -> None:
    while (wire := outbox.take()) is not None:
        line.send(wire.SerializeToString())
    line.hang_up()
