"""Two agents with one identity: the broker lets the newer one in and drops the other without a word.

The dropped one comes back and would drop the newer one in its turn, for ever. It is told to stay away for a while.
A run that was replaced by a restart never comes back, so nobody is turned away who should not be.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

_RUNS_KEPT = 1000


class Twins:
    """Which runs of which devices were replaced by another one, and until when they stay away."""

    def __init__(self, stay_away_s: float) -> None:
        self._stay_away_s = stay_away_s
        self._lock = threading.Lock()
        self._until_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def replaced(self, device_id: str, run_id: str, now_s: float) -> None:
        """Another run has taken the place of ``run_id``."""
        with self._lock:
            self._until_s[device_id, run_id] = now_s + self._stay_away_s
            if len(self._until_s) > _RUNS_KEPT:
                self._until_s.popitem(last=False)

    def stay_away_s(self, device_id: str, run_id: str, now_s: float) -> float:
        """How long ``run_id`` is not to be let in, seconds; 0 = it may come."""
        return max(0.0, self._until_s.get((device_id, run_id), now_s) - now_s)
