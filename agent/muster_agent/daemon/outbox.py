"""What leaves the device: reports exactly once, the reported state after each change, telemetry as far as it fits."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from muster_agent.daemon.bounded import bounded_event
from muster_agent.daemon.parts import Parts, Settings
from muster_devices.failpoint import hit
from muster_protos.errors import InvalidInputError, TemporaryError
from muster_protos.model import (
    AgentMessage,
    Event,
    Hello,
    Progress,
    Report,
    ReportAck,
    ReportedState,
    Telemetry,
)

log = logging.getLogger(__name__)

_BATCH = 64
_PROGRESS_EVERY_NS = 200_000_000
_UNSTORED_KEPT = 1000  # events that wait in memory for a disk that takes them


class Outbox:
    """Belongs to the loop, except ``event`` and ``progress``, which steps call too.

    A report leaves the queue when its acknowledgement arrives and never before; after a reconnect, or when an
    acknowledgement is overdue, everything unacknowledged is sent again in order.
    """

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._settings = settings
        self._telemetry: deque[Telemetry] = deque(maxlen=settings.telemetry_kept)
        self._sent_sequence = 0  # the newest report handed to the link in this session
        self._oldest_sent_ns: int | None = None  # monotonic; when the oldest unacknowledged one was sent
        self._reported: ReportedState | None = None  # what the controller was told last
        self._progress_ns = 0
        self._is_blocked = False
        self._unstored: deque[Event] = deque()
        self._dropped = 0
        self._unstored_lock = threading.Lock()
        self.problem = ""  # why an event could not be stored the last time

    @property
    def is_blocked(self) -> bool:
        """The link took less than there was: come back soon."""
        return self._is_blocked

    def event(
        self,
        kind: str,
        *,
        model_id: str = "",
        from_variant_id: str = "",
        to_variant_id: str = "",
        reason: str = "",
        duration_ms: float | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Queue an event as a report."""
        log.info("%s%s%s", kind, f" {model_id}" if model_id else "", f": {reason}" if reason else "")
        event = Event(
            event_id=secrets.token_hex(16),
            kind=kind,
            at_ns=self._parts.clock.now_ns(),
            model_id=model_id,
            from_variant_id=from_variant_id,
            to_variant_id=to_variant_id,
            reason=reason,
            duration_ms=duration_ms,
            details=dict(details or {}),
        )
        self._store([bounded_event(event)])

    def pass_on(self, events: Sequence[Event]) -> None:
        """Queue what serving processes reported."""
        now_ns = self._parts.clock.now_ns()
        complete = [
            bounded_event(replace(event, event_id=event.event_id or secrets.token_hex(16), at_ns=event.at_ns or now_ns))
            for event in events
        ]
        if complete:
            self._store(complete)

    def _store(self, events: Sequence[Event]) -> None:
        """On disk, or in memory until it can be: an event never stops what it tells of."""
        with self._unstored_lock:
            self._unstored.extend(events)
            while len(self._unstored) > _UNSTORED_KEPT:
                self._unstored.popleft()
                self._dropped += 1
        self.store_waiting()

    def lost(self, count: int) -> None:
        """So many events never came as far as here."""
        with self._unstored_lock:
            self._dropped += count

    def store_waiting(self) -> None:
        """Try again to store what could not be stored, in order."""
        with self._unstored_lock:
            if not self._unstored and not self._dropped:
                return
            events = list(self._unstored)
            if self._dropped:
                reason = f"{self._dropped} events were dropped, the oldest first: too many, or the disk took none"
                events.append(Event(secrets.token_hex(16), "events.dropped", self._parts.clock.now_ns(), reason=reason))
            try:
                self._parts.state.queue_events(events)
            except TemporaryError as error:
                if not self.problem:
                    log.error("%d events wait in memory: %s", len(events), error)
                self.problem = str(error)
                return
            self._unstored.clear()
            self._dropped, self.problem = 0, ""

    def progress(self, progress: Progress) -> None:
        """Tell how far a step is, at most five times a second; lossy."""
        now_ns = self._parts.clock.monotonic_ns()
        if progress.done < progress.total and now_ns - self._progress_ns < _PROGRESS_EVERY_NS:
            return
        self._progress_ns = now_ns
        self._parts.link.send(AgentMessage(progress))

    def telemetry(self, samples: Sequence[Telemetry]) -> None:
        """Keep samples until the link takes them; the oldest are dropped first."""
        self._telemetry.extend(samples)

    def session_began(self, epoch: int, version: int) -> None:
        """Open with Hello; the rest follows from ``pump``."""
        self._sent_sequence = 0
        self._oldest_sent_ns = None
        self._reported = None
        self.hello(epoch, version)

    def begin_anew(self) -> None:
        """The queue is another one, with other numbers: everything in it is sent."""
        self._sent_sequence = 0
        self._oldest_sent_ns = None

    def hello(self, epoch: int, version: int) -> None:
        """Say what this device is, as far as it is known now."""
        self._parts.link.send(AgentMessage(Hello(self._parts.inventory(), epoch, version, self._parts.run_id)))

    def acknowledged(self, ack: ReportAck) -> None:
        """The controller has stored a report, or never will."""
        hit("report: acknowledgement arrived")
        known = self._parts.state.acknowledge(ack.request_id, ack.attempt, ack.sequence, ack.rejected_reason)
        self._oldest_sent_ns = self._parts.clock.monotonic_ns()
        if known and ack.rejected_reason:
            log.warning("the controller rejected report %s #%d: %s", ack.request_id, ack.sequence, ack.rejected_reason)

    def pump(self, reported: ReportedState) -> None:
        """Send what is due, in a session: results before the state that calls them finished."""
        self._is_blocked = not (self._send_reports() and self._send_reported(reported) and self._send_telemetry())

    def _send_reported(self, reported: ReportedState) -> bool:
        if self._reported is not None and replace(reported, at_ns=0) == replace(self._reported, at_ns=0):
            return True
        if not self._parts.link.send(AgentMessage(reported)):
            return False
        self._reported = reported
        return True

    def _send_reports(self) -> bool:
        now_ns = self._parts.clock.monotonic_ns()
        overdue_ns = int(self._settings.resend_after_s * 1e9)
        if self._oldest_sent_ns is not None and now_ns - self._oldest_sent_ns > overdue_ns:
            self._sent_sequence = 0
            self._oldest_sent_ns = None
        while batch := self._parts.state.reports(self._sent_sequence, _BATCH):
            for report in batch:
                try:
                    if not self._parts.link.send(AgentMessage(report)):
                        return False
                except InvalidInputError as error:
                    self._set_aside(report, error)
                    continue
                hit("report: handed to the link")
                self._sent_sequence = report.sequence
                self._oldest_sent_ns = self._oldest_sent_ns or now_ns
        if self._oldest_sent_ns is not None and not self._parts.state.reports(0, 1):
            self._oldest_sent_ns = None
        return True

    def _set_aside(self, report: Report, error: InvalidInputError) -> None:
        """No link ever takes this report: keep why for people, tell the controller, and let the others pass."""
        reason = f"never sent: {error}"
        self._parts.state.acknowledge(report.request_id, report.attempt, report.sequence, reason)
        self._sent_sequence = report.sequence
        self.event(
            "report.rejected",
            reason=reason,
            details={
                "request_id": report.request_id,
                "attempt": str(report.attempt),
                "sequence": str(report.sequence),
            },
        )

    def _send_telemetry(self) -> bool:
        while self._telemetry:
            if not self._parts.link.send(AgentMessage(self._telemetry[0])):
                return False
            self._telemetry.popleft()
        return True
