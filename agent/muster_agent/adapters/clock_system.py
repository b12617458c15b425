"""The machine's own clocks, and what the controller says of the time.

A device without a battery for its clock starts in 1970, another one runs ten years ahead. Rules that compare with the
controller's times (deadlines, ends of certificates) must not follow it: once the controller has told the time it counts
from there, by the monotonic clock; before that it is at least what this device knows to have passed. The monotonic
clock is the one that goes on while the machine is suspended: certificates end, and deadlines pass, in its sleep, too.
"""

from __future__ import annotations

import threading
import time


def _since_boot_ns() -> int:
    try:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # not Linux, or a sandbox that has no such clock
        return time.monotonic_ns()


class SystemClock:
    """Wall clock, monotonic clock and waits of the operating system; ``earliest_ns``: it is not before that."""

    def __init__(self, earliest_ns: int = 0) -> None:
        self._earliest = (earliest_ns, _since_boot_ns())
        self._told: tuple[int, int] | None = None  # (the controller's wall clock, our monotonic one, when it told)

    @property
    def is_told(self) -> bool:
        return self._told is not None

    def learn(self, wall_ns: int) -> None:
        if wall_ns < self._earliest[0]:
            return  # a word without a time, or of a controller whose own clock has lost it
        self._told = (wall_ns, _since_boot_ns())

    def now_ns(self) -> int:
        told = self._told
        if told is not None:
            return told[0] + _since_boot_ns() - told[1]
        earliest_ns, since_ns = self._earliest
        return max(time.time_ns(), earliest_ns + _since_boot_ns() - since_ns)

    def monotonic_ns(self) -> int:
        return _since_boot_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)
