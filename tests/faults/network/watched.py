"""The real parts of an agent and a controller, each of which remembers what a test asks for afterwards."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.ports import Link, LinkSink
from muster_controller.ports import DeviceSession, SessionSink
from muster_protos import codec
from muster_protos.model import (
    AgentMessage,
    ArtifactRef,
    Chunk,
    ControllerMessage,
    Desired,
    DesiredState,
    RenewResponse,
    Report,
    SignedEnvelope,
)


class WatchedSink:
    """The service's sink, and who is in a session with it."""

    def __init__(self, sink: SessionSink) -> None:
        self._sink = sink
        self.opened: Counter[str] = Counter()
        self.live: dict[str, DeviceSession] = {}
        self.heard: Counter[str] = Counter()  # reports, doubles among them, by device

    def session_opened(self, session: DeviceSession) -> None:
        self.opened[session.device_id] += 1
        self.live[session.device_id] = session
        self._sink.session_opened(session)

    def session_closed(self, session: DeviceSession, reason: str) -> None:
        if self.live.get(session.device_id) is session:
            del self.live[session.device_id]
        self._sink.session_closed(session, reason)

    def messages_received(self, session: DeviceSession, messages: Sequence[AgentMessage]) -> None:
        self.heard[session.device_id] += sum(isinstance(message.body, Report) for message in messages)
        self._sink.messages_received(session, messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)


class WatchedState(SqliteState):
    """Remembers which desired states were adopted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.versions: list[int] = []

    def put_desired(self, envelope: SignedEnvelope) -> None:
        super().put_desired(envelope)
        self.versions.append(codec.decode(DesiredState, envelope.payload).version)


class WatchedCache(FolderCache):
    """Remembers how many bytes of each artifact were appended."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.appended: Counter[str] = Counter()

    def append(self, ref: ArtifactRef, offset: int, data: bytes) -> None:
        super().append(ref, offset, data)
        self.appended[ref.sha256] += len(data)


LATE_S = 0.5  # a message that is late comes behind the next one, or after this


class WatchedLink:
    """A link; with a ``chance`` it says and hears some messages twice and some after the one behind them."""

    def __init__(self, link: Link, chance: random.Random | None = None) -> None:
        self.name = link.name
        self.desired: list[ControllerMessage] = []  # as they came
        self.onlines = 0
        self.is_online = False
        self.offline_reasons: list[str] = []
        self.failures: list[str] = []
        self.fetches: list[tuple[str, int]] = []
        self.fetch_errors: list[str] = []
        self.copies = 1  # of each report
        self._link = link
        self._chance = chance
        self._late_out: list[AgentMessage] = []
        self._late_in: list[ControllerMessage] = []
        self._lock = threading.Lock()
        self._sink: Any = None

    @property
    def is_proven(self) -> bool:
        return self._link.is_proven

    def start(self, sink: LinkSink) -> None:
        self._sink = sink
        self._link.start(self)

    def send(self, message: AgentMessage) -> bool:
        if not isinstance(message.body, Report):
            return self._link.send(message)
        if self._chance is None:
            taken = [self._link.send(message) for _ in range(self.copies)]
            return taken[0]
        draw = self._chance.random()
        if draw < 0.1:
            self._late_out.append(message)
            return True  # not told: it is late, or lost when the session ends first
        is_taken = self._link.send(message)
        if draw < 0.2:
            self._link.send(message)
        late, self._late_out = self._late_out, []
        for each in late:
            self._link.send(each)
        return is_taken

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        self.fetches.append((sha256, offset))
        try:
            self._link.fetch(sha256, offset, on_chunk, stop)
        except Exception as error:
            self.fetch_errors.append(str(error))
            raise

    def renew(self, csr_pem: bytes) -> RenewResponse:
        return self._link.renew(csr_pem)

    def reconnect(self, reason: str) -> None:
        self._link.reconnect(reason)

    def close(self) -> None:
        self._link.close()

    def online(self) -> None:
        self._late_out.clear()
        self._late_in.clear()
        self.onlines += 1
        self.is_online = True
        self._sink.online()

    def offline(self, reason: str) -> None:
        self.is_online = False
        self.offline_reasons.append(reason)
        self._sink.offline(reason)

    def unreached(self, reason: str) -> None:
        self.failures.append(reason)
        self._sink.unreached(reason)

    def received(self, message: ControllerMessage) -> None:
        if isinstance(message.body, Desired):
            self.desired.append(message)
        draw = 1.0 if self._chance is None else self._chance.random()
        if draw < 0.1:
            with self._lock:
                self._late_in.append(message)
            timer = threading.Timer(LATE_S, self._deliver_late)  # it may be the last one: nothing is behind it
            timer.daemon = True
            timer.start()
            return
        self._sink.received(message)
        self._deliver_late()
        if draw < 0.2:
            self._sink.received(message)

    def _deliver_late(self) -> None:
        with self._lock:
            late, self._late_in = self._late_in, []
        for each in late:
            self._sink.received(each)
