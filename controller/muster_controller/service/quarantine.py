"""What devices say that is not believed: how much of it is kept, and how often it is told.

A device that lies without end fills neither the store nor the feed of events; the others notice nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import replace

from muster_controller.core.entities import StoredReport
from muster_controller.core.field_rules import message_reason
from muster_controller.ports import Clock, Store
from muster_controller.service.events import Events
from muster_protos.model import AgentMessage, Hello, Progress, ReportedState, Telemetry

KEPT_BYTES = 16 * 1024  # of one quarantined report
KEPT_REPORTS = 1_000  # quarantined, of one device; those that answer an open request come on top
TOLD_EVENTS = 20  # of one device
_WITHIN_NS = 60 * 10**9
_PAGE = 100

_log = logging.getLogger(__name__)


class Quarantine:
    """Counts per device. Thread-safe."""

    def __init__(self, store: Store, clock: Clock, events: Events) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[int, int]] = {}  # (how many, when they were counted in the store)
        self._told_ns: dict[str, deque[int]] = {}
        self._untold: dict[str, int] = {}

    def believed(self, device_id: str, messages: Sequence[AgentMessage]) -> list[AgentMessage]:
        """``messages`` without those whose fields hold what they may not; reports judge and keep their own."""
        found: list[AgentMessage] = []
        for message in messages:
            body = message.body
            reason = message_reason(body) if isinstance(body, Hello | ReportedState | Telemetry | Progress) else ""
            if reason:
                self.tell("message.rejected", device_id, reason, type(body).__name__)
            else:
                found.append(message)
        return found

    def cut(self, row: StoredReport) -> StoredReport:
        """As it is kept: whole when it is believed, the first 16 KiB when it is not."""
        return replace(row, payload=row.payload[:KEPT_BYTES]) if row.rejected_reason else row

    def has_room(self, device_id: str) -> bool:
        """Count one more quarantined report of the device; False when it has had its thousand."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            count, counted_ns = self._kept.get(device_id, (None, 0))
        if count is None or (count >= KEPT_REPORTS and now_ns - counted_ns > _WITHIN_NS):
            count, counted_ns = self._count(device_id), now_ns
        has_room = count < KEPT_REPORTS
        with self._lock:
            self._kept[device_id] = (count + has_room, counted_ns)
        return has_room

    def keep_only(self, device_ids: Set[str]) -> None:
        """Forget all other devices."""
        with self._lock:
            for remembered in (self._kept, self._told_ns, self._untold):
                for device_id in remembered.keys() - device_ids:
                    del remembered[device_id]

    def tell(self, kind: str, device_id: str, reason: str, what: str) -> None:
        """Record an event, unless the device has caused twenty of them within a minute; those are counted."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            told = self._told_ns.setdefault(device_id, deque())
            while told and now_ns - told[0] > _WITHIN_NS:
                told.popleft()
            if len(told) >= TOLD_EVENTS:
                self._untold[device_id] = self._untold.get(device_id, 0) + 1
                return
            told.append(now_ns)
            untold = self._untold.pop(device_id, 0)
        details = {"request" if kind == "report.rejected" else "message": what[:64]}
        if untold:
            details["more"] = str(untold)
        self._events.record(kind, device_id, reason=reason[:300], details=details)
        _log.warning("%s of device %s: %s: %s", kind, device_id, what[:64], reason[:300])

    def _count(self, device_id: str) -> int:
        """How many are in the store, up to the bound."""
        count, cursor = 0, ""
        while count < KEPT_REPORTS:
            page = self._store.list_reports(device_id, True, cursor, _PAGE)
            count += len(page.items)
            cursor = page.next_cursor
            if not cursor:
                break
        return count
