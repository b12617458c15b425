"""The declared slowdown of an emulated device: after each piece of work, wait for the share that it would have lost."""

from __future__ import annotations

import time
from dataclasses import dataclass

_SPIN_NS = 200_000  # sleeping is exact to about this


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Work of t ns is made to last ``ratio`` * t ns; 1.0 = none. Whoever uses it labels the figures as emulated."""

    ratio: float = 1.0

    def stretch(self, started_ns: int) -> None:
        """Return when ``ratio`` times the time since ``started_ns`` (``time.perf_counter_ns``) has passed."""
        if self.ratio <= 1.0:
            return
        now_ns = time.perf_counter_ns()
        end_ns = started_ns + int((now_ns - started_ns) * self.ratio)
        if end_ns - now_ns > 2 * _SPIN_NS:
            time.sleep((end_ns - now_ns - _SPIN_NS) / 1e9)
        while time.perf_counter_ns() < end_ns:
            pass
