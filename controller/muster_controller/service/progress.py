"""The newest progress of long steps on devices: lossy, in memory, for people who watch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from muster_controller.ports import ChangeFeed, Clock
from muster_protos.model import Progress

TOPIC = "progress"
_MAX_ENTRIES = 10_000
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class DeviceProgress:
    """How far one step on one device is."""

    device_id: str
    subject: str
    id: str
    done: float
    total: float
    note: str
    at_ns: int


class ProgressBoard:
    """Keeps the last message per (device, subject, id); the oldest entries fall off."""

    def __init__(self, feed: ChangeFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str, str], DeviceProgress] = OrderedDict()

    def put(self, device_id: str, progress: Progress) -> None:
        entry = DeviceProgress(
            device_id=device_id,
            subject=progress.subject[:_MAX_TEXT],
            id=progress.id[:_MAX_TEXT],
            done=progress.done,
            total=progress.total,
            note=progress.note[:_MAX_TEXT],
            at_ns=self._clock.now_ns(),
        )
        with self._lock:
            self._entries[(device_id, entry.subject, entry.id)] = entry
            self._entries.move_to_end((device_id, entry.subject, entry.id))
            while len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)
        self._feed.publish(TOPIC)

    def list(self, ids: frozenset[str] | None = None) -> tuple[DeviceProgress, ...]:
        """Oldest first; only entries of these ids when given."""
        with self._lock:
            entries = tuple(self._entries.values())
        return entries if ids is None else tuple(entry for entry in entries if entry.id in ids)
