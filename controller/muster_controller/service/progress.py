"""The newest progress of long steps on devices: lossy, in memory, for people who watch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from muster_controller.ports import ChangeFeed, Clock
from muster_protos.model import Progress

TOPIC = "progress"
_MAX_ENTRIES = 10_000
_MAX_OF_DEVICE = 64  # one that makes ids up must not push out what others say
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
    """Keeps the last message per (device, subject, id); the oldest entries fall off, of each device and of all."""

    def __init__(self, feed: ChangeFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str, str], DeviceProgress] = OrderedDict()
        self._of_device: dict[str, OrderedDict[tuple[str, str, str], None]] = {}

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
        key = (device_id, entry.subject, entry.id)
        with self._lock:
            own = self._of_device.setdefault(device_id, OrderedDict())
            self._entries[key], own[key] = entry, None
            self._entries.move_to_end(key)
            own.move_to_end(key)
            while len(own) > _MAX_OF_DEVICE:
                self._drop(next(iter(own)))
            while len(self._entries) > _MAX_ENTRIES:
                self._drop(next(iter(self._entries)))
        self._feed.publish(TOPIC)

    def _drop(self, key: tuple[str, str, str]) -> None:
        del self._entries[key]
        own = self._of_device[key[0]]
        del own[key]
        if not own:
            del self._of_device[key[0]]

    def list(self, ids: frozenset[str] | None = None) -> tuple[DeviceProgress, ...]:
        """Oldest first; only entries of these ids when given."""
        with self._lock:
            entries = tuple(self._entries.values())
        return entries if ids is None else tuple(entry for entry in entries if entry.id in ids)
