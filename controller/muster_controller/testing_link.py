"""The controller's end of a link without a network, and a sink that remembers; for tests.

The agent's half is ``muster_agent.testing_link.MemoryLink``.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from muster_controller.ports import (
    Authenticator,
    DeviceRevokedError,
    DeviceSession,
    Principal,
    SessionSink,
)
from muster_protos import codec
from muster_protos.errors import InvalidInputError, NotAuthorisedError, NotFoundError, PermanentError
from muster_protos.limits import CHUNK_BYTES, MAX_CONTROLLER_MESSAGE_BYTES, check_size
from muster_protos.model import (
    AgentMessage,
    Chunk,
    ControllerMessage,
    Desired,
    Goodbye,
    JoinRequest,
    JoinResponse,
    RenewResponse,
    Report,
    ReportAck,
)


class MemorySession:
    """The DeviceSession port over a queue; a thread of its own talks to the sink."""

    link = "memory"

    def __init__(self, device_id: str, sink: SessionSink, deliver: Callable[[bytes | None], None]) -> None:
        self.device_id = device_id
        self._sink = sink
        self._deliver = deliver
        self._inbox: queue.Queue[bytes | None] = queue.Queue()
        self._outbox: queue.Queue[None] = queue.Queue()
        self._lock = threading.Lock()
        self._waiting: list[ControllerMessage] = []
        self._goodbye: Goodbye | None = None
        self._reason = ""
        self._writer = threading.Thread(target=self._write, name="memory-write", daemon=True)
        self._reader = threading.Thread(target=self._read, name="memory-read", daemon=True)

    def begin(self) -> None:
        """Tell the sink and start talking."""
        self._sink.session_opened(self)
        self._writer.start()
        self._reader.start()

    def send(self, message: ControllerMessage) -> None:
        check_size(len(codec.encode(message)), MAX_CONTROLLER_MESSAGE_BYTES, "message to a device")
        with self._lock:
            if self._goodbye is not None:
                return
            if isinstance(message.body, Desired):
                self._waiting = [waiting for waiting in self._waiting if not isinstance(waiting.body, Desired)]
            self._waiting.append(message)
        self._outbox.put(None)

    def close(self, reason: str, is_revoked: bool = False, retry_after_ms: int = 0) -> None:
        with self._lock:
            if self._goodbye is not None:
                return
            self._reason = self._reason or reason
            self._goodbye = Goodbye(reason, is_revoked, retry_after_ms)
            if is_revoked:
                self._waiting.clear()
            self._waiting.append(ControllerMessage(self._goodbye))
        self._outbox.put(None)

    def take(self, payload: bytes | None) -> None:
        """From the device; None when it hangs up."""
        self._inbox.put(payload)

    def break_off(self) -> None:
        """As if the network were gone: nothing waits to be delivered."""
        with self._lock:
            self._reason = self._reason or "the connection broke"
            self._goodbye = self._goodbye or Goodbye(self._reason)
            self._waiting.clear()
        self._inbox.put(None)

    def wait_ended(self) -> None:
        self._reader.join()

    def _read(self) -> None:
        while (payload := self._inbox.get()) is not None:
            message = codec.decode(AgentMessage, payload)
            if isinstance(message.body, Goodbye):
                self._reason = "the agent said goodbye"
                break
            self._sink.messages_received(self, (message,))
        self.close(self._reason or "the agent left")
        self._outbox.put(None)
        self._writer.join()
        self._sink.session_closed(self, self._reason)

    def _write(self) -> None:
        while True:
            self._outbox.get()
            with self._lock:
                waiting, self._waiting = self._waiting, []
                is_over = self._goodbye is not None
            for message in waiting:
                self._deliver(codec.encode(message))
            if is_over:
                self._deliver(None)
                self._inbox.put(None)
                return


class MemorySwitchboard:
    """The controller's end: authenticates, keeps one session per device, serves ranges."""

    def __init__(self, sink: SessionSink, authenticator: Authenticator) -> None:
        self._sink = sink
        self._authenticator = authenticator
        self._lock = threading.Lock()
        self._sessions: dict[str, MemorySession] = {}

    def connect(self, certificate_pem: bytes, deliver: Callable[[bytes | None], None]) -> Connected | Goodbye:
        """An accepted session, or the reason why there is none."""
        try:
            device_id = self._authenticator.authenticate_certificate(certificate_pem).principal_id
        except NotAuthorisedError as error:
            return Goodbye(str(error), isinstance(error, DeviceRevokedError))
        session = MemorySession(device_id, self._sink, deliver)
        with self._lock:
            older = self._sessions.get(device_id)
            if older is not None:
                older.close("a newer session of this device took over", retry_after_ms=30_000)
                older.wait_ended()
            self._sessions[device_id] = session
            session.begin()
        return Connected(session)

    def fetch(self, certificate_pem: bytes, sha256: str, offset: int) -> Iterator[Chunk]:
        """Chunks of at most 256 KiB; an empty range is one empty chunk."""
        device_id = self._authenticator.authenticate_certificate(certificate_pem).principal_id
        data, total_bytes = self._sink.read_artifact(device_id, sha256, offset, CHUNK_BYTES)
        if not 0 <= offset <= total_bytes:
            raise InvalidInputError(f"expected an offset within {total_bytes} bytes, found {offset}")
        yield Chunk(offset, data, total_bytes)
        offset += len(data)
        while offset < total_bytes:
            self._authenticator.authenticate_certificate(certificate_pem)
            data, total_bytes = self._sink.read_artifact(device_id, sha256, offset, CHUNK_BYTES)
            yield Chunk(offset, data, total_bytes)
            offset += len(data)

    def renew(self, certificate_pem: bytes, csr_pem: bytes) -> RenewResponse:
        device_id = self._authenticator.authenticate_certificate(certificate_pem).principal_id
        return self._sink.renew(device_id, csr_pem)

    def session(self, device_id: str) -> MemorySession:
        """The live one."""
        return self._sessions[device_id]

    def stop(self) -> None:
        """Say goodbye to every device."""
        for session in tuple(self._sessions.values()):
            session.close("the controller stops", retry_after_ms=1_000)
            session.wait_ended()


@dataclass(frozen=True, slots=True)
class Connected:
    """What the device holds of a session."""

    session: MemorySession

    def send(self, payload: bytes) -> None:
        self.session.take(payload)

    def hang_up(self) -> None:
        self.session.take(None)


@dataclass
class RecordingSink:
    """A SessionSink that remembers. ``changed`` is notified after every call."""

    artifacts: dict[str, tuple[bytes, frozenset[str]]] = field(default_factory=dict)  # sha256 -> (bytes, device ids)
    opened: list[DeviceSession] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)  # (what, device id) in order
    close_reasons: list[str] = field(default_factory=list)
    messages: list[tuple[str, AgentMessage]] = field(default_factory=list)
    reports: dict[tuple[str, str, int, int], Report] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    is_acknowledging: bool = True
    renewal: Callable[[str, bytes], RenewResponse] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def session_opened(self, session: DeviceSession) -> None:
        with self.changed:
            self.opened.append(session)
            self.calls.append(("opened", session.device_id))
            self.changed.notify_all()

    def session_closed(self, session: DeviceSession, reason: str) -> None:
        with self.changed:
            self.calls.append(("closed", session.device_id))
            self.close_reasons.append(reason)
            self.changed.notify_all()

    def messages_received(self, session: DeviceSession, messages: Sequence[AgentMessage]) -> None:
        with self.changed:
            self.batches.append(len(messages))
            for message in messages:
                self.messages.append((session.device_id, message))
                if isinstance(message.body, Report):
                    report = message.body
                    key = (session.device_id, report.request_id, report.attempt, report.sequence)
                    self.reports.setdefault(key, report)
                    if self.is_acknowledging:
                        session.send(ControllerMessage(ReportAck(report.request_id, report.attempt, report.sequence)))
            self.changed.notify_all()

    def read_artifact(self, device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
        content, device_ids = self.artifacts.get(sha256, (b"", frozenset[str]()))
        if device_id not in device_ids:
            raise NotFoundError(f"expected an artifact of device {device_id}, found none called {sha256[:12]}")
        return content[offset : offset + length], len(content)

    def join(self, request: JoinRequest) -> JoinResponse:  # noqa: ARG002 - the port's name
        raise PermanentError("this sink takes no joins")

    def renew(self, device_id: str, csr_pem: bytes) -> RenewResponse:
        if self.renewal is None:
            raise PermanentError("this sink renews nothing")
        return self.renewal(device_id, csr_pem)

    def wait_for(self, is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Block until ``is_true``; AssertionError when it does not become so."""
        with self.changed:
            if not self.changed.wait_for(is_true, timeout_s):
                raise AssertionError(f"not within {timeout_s} s; calls so far: {self.calls}")


class CertificateBook:
    """An Authenticator over a table of certificates."""

    def __init__(self) -> None:
        self._devices: dict[bytes, str] = {}
        self._revoked: set[str] = set()

    def admit(self, certificate_pem: bytes, device_id: str) -> None:
        self._devices[certificate_pem.strip()] = device_id

    def revoke(self, device_id: str) -> None:
        self._revoked.add(device_id)

    def authenticate_certificate(self, certificate_pem: bytes) -> Principal:
        device_id = self._devices.get(certificate_pem.strip())
        if device_id is None:
            raise NotAuthorisedError("expected a joined device, found an unknown certificate")
        return self.authenticate_device(device_id)

    def authenticate_device(self, device_id: str) -> Principal:
        if device_id not in self._devices.values():
            raise NotAuthorisedError(f"expected a joined device, found {device_id}, which is unknown here")
        if device_id in self._revoked:
            raise DeviceRevokedError(f"device {device_id} was removed from the fleet")
        return Principal("device", device_id)

    def authenticate_admin(self, token: str) -> Principal:  # noqa: ARG002 - the port's name
        raise NotAuthorisedError("expected no admin here")
