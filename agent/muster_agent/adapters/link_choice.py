"""Several links to one controller, one at a time: the next one when the present one has no session for too long.

Nothing is lost on the way: what the controller has not acknowledged is in the state store, and each session begins by
sending it again. A link that works is kept; the first one is not tried again before the present one fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from muster_agent.ports import Link, LinkSink
from muster_protos.errors import MusterError, UnreachableError
from muster_protos.model import AgentMessage, Chunk, ControllerMessage, RenewResponse

_LONGEST_PATIENCE_S = 300.0
_FAREWELL_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A link that may be used; where ``make`` raises a MusterError (its library is missing), it is left out."""

    url: str
    make: Callable[[], Link]


class _Outcome(Enum):
    """What came of one candidate."""

    LEFT_OUT = "left out"
    SILENT = "silent"
    SERVED = "served"


class LinkChoice:
    """The Link port over the first candidate that has a session."""

    def __init__(self, candidates: Sequence[Candidate], patience_s: float = 15.0) -> None:
        """``patience_s``: how long a link may be without a session; doubles each time that all of them had none."""
        self.name = ""  # of the link in use, or of the one before it
        self._candidates = tuple(candidates)
        self._patience_s = patience_s
        self._link: Link | None = None
        self._watch: _Watch | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_proven(self) -> bool:
        """Of the link in use; asked while it delivers."""
        link = self._link
        return link is not None and link.is_proven

    def start(self, sink: LinkSink) -> None:
        """Try them in order, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name="link-choice", daemon=True)
        self._thread.start()

    def send(self, message: AgentMessage) -> bool:
        link = self._link
        return link is not None and link.send(message)

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        self._present().fetch(sha256, offset, on_chunk, stop)

    def renew(self, csr_pem: bytes) -> RenewResponse:
        return self._present().renew(csr_pem)

    def reconnect(self, reason: str) -> None:
        link = self._link
        if link is not None:
            link.reconnect(reason)

    def close(self) -> None:
        """Say goodbye over the present link and stop; safe to call twice."""
        self._closing.set()
        with self._lock:
            link, watch = self._link, self._watch
        if watch is not None:
            watch.wake()
        if link is not None:
            link.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FAREWELL_S)

    def _present(self) -> Link:
        link = self._link
        if link is None:
            raise UnreachableError(
                "expected a session, found the agent on its way to another link; it goes on by itself"
            )
        return link

    def _run(self, sink: LinkSink) -> None:
        patience_s = self._patience_s
        while not self._closing.is_set():
            outcomes = set()
            for candidate in self._candidates:
                outcomes.add(self._use(candidate, sink, patience_s))
                if self._closing.is_set():
                    return
            if outcomes == {_Outcome.LEFT_OUT}:  # the identity cannot be read just now, say
                self._closing.wait(patience_s)
            is_well = _Outcome.SERVED in outcomes
            patience_s = self._patience_s if is_well else min(_LONGEST_PATIENCE_S, 2 * patience_s)

    def _use(self, candidate: Candidate, sink: LinkSink, patience_s: float) -> _Outcome:
        """Hold the link until it had no session for ``patience_s`` seconds."""
        try:
            link = candidate.make()
        except MusterError as error:
            log.warning("%s is left out: %s", candidate.url, error)
            return _Outcome.LEFT_OUT
        except Exception:  # a loop's top: the agent outlives a fault of one link
            log.exception("%s is left out", candidate.url)
            return _Outcome.LEFT_OUT
        watch = _Watch(sink, self._closing)
        with self._lock:
            if self._closing.is_set():
                return _Outcome.SILENT
            self._link, self._watch, self.name = link, watch, link.name
            link.start(watch)
        watch.until_silent_for(patience_s)
        watch.leave()
        with self._lock:
            self._link = self._watch = None
        link.close()
        if not self._closing.is_set():
            log.warning("no session over %s for %.0f s; trying the next link", candidate.url, patience_s)
        return _Outcome.SERVED if watch.was_online else _Outcome.SILENT


class _Watch:
    """Passes on what a link says and knows how long it has been silent."""

    def __init__(self, sink: LinkSink, closing: threading.Event) -> None:
        self.was_online = False
        self._sink = sink
        self._closing = closing
        self._is_online = False
        self._is_left = False
        self._silent_since_s = time.monotonic()
        self._changed = threading.Condition()

    def online(self) -> None:
        with self._changed:
            self._is_online = self.was_online = True
            self._changed.notify_all()
        self._sink.online()

    def offline(self, reason: str) -> None:
        self._sink.offline(reason)
        with self._changed:
            self._is_online = False
            self._silent_since_s = time.monotonic()
            self._changed.notify_all()

    def unreached(self, reason: str) -> None:
        self._sink.unreached(reason)

    def received(self, message: ControllerMessage) -> None:
        """Not what a link still says after it was left: its word would be taken for that of the link in use."""
        with self._changed:
            is_left = self._is_left
        if not is_left:
            self._sink.received(message)

    def leave(self) -> None:
        """Believe nothing more of this link."""
        with self._changed:
            self._is_left = True

    def wake(self) -> None:
        """Look at once whether all is closing."""
        with self._changed:
            self._changed.notify_all()

    def until_silent_for(self, patience_s: float) -> None:
        """Return when there was no session for so long, or all is closing."""
        with self._changed:
            while not self._closing.is_set():
                left_s = self._silent_since_s + patience_s - time.monotonic()
                if not self._is_online and left_s <= 0:
                    return
                self._changed.wait(None if self._is_online else left_s)
