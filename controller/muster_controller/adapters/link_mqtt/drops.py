"""What was refused at the edge: counted, and told at most once in ten seconds per device."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass

_EVERY_S = 10.0
_DEVICES_KEPT = 1000

_log = logging.getLogger(__name__)


@dataclass
class _Entry:
    told_s: float
    untold: int = 0


class Drops:
    """Thread-safe."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def note(self, device_id: str, reason: object, now_s: float) -> None:
        """A message of ``device_id`` ("" = nobody's) was dropped."""
        with self._lock:
            self.count += 1
            entry = self._entries.get(device_id)
            if entry is not None and now_s - entry.told_s < _EVERY_S:
                entry.untold += 1
                return
            further = f" (and {entry.untold} more before it)" if entry is not None and entry.untold else ""
            self._entries[device_id] = _Entry(now_s)
            if len(self._entries) > _DEVICES_KEPT:
                self._entries.popitem(last=False)
        whose = f"of device {device_id}" if device_id else "at the broker"
        _log.warning("a message %s was dropped: %s%s", whose, " ".join(str(reason).split())[:300], further)
