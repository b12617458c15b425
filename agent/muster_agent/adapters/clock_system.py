"""The machine's own clocks."""

from __future__ import annotations

import threading
import time


class SystemClock:
    """Wall clock, monotonic clock and waits of the operating system."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)
