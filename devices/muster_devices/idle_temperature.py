"""The temperature at rest, learnt: the lowest one that this process saw while nothing kept the cores busy.

Nobody tells a device its idle temperature, and it changes with the room. So each reading on a calm device is kept for
six hours, and the lowest one counts. The first reading can only be its own standard; runs after it are held to it.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

KEPT_S = 6 * 3600.0


class IdleTemperature:
    """Remembers calm readings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lowest: deque[tuple[float, float]] = deque()  # (s, C), both rising: what may yet become the lowest

    @property
    def celsius(self) -> float | None:
        """The lowest calm reading of the last six hours; None before the first."""
        while self._lowest and self._clock() - self._lowest[0][0] > KEPT_S:
            self._lowest.popleft()
        return self._lowest[0][1] if self._lowest else None

    def observe(self, celsius: float | None) -> None:
        """Take a reading of a calm device; None, of a device without thermal zones, teaches nothing."""
        if celsius is None:
            return
        while self._lowest and self._lowest[-1][1] >= celsius:
            self._lowest.pop()
        self._lowest.append((self._clock(), celsius))


@functools.cache
def idle_temperature(root: Path = Path("/")) -> IdleTemperature:  # noqa: ARG001 (the key of the cache)
    """What this process has learnt of the device whose proc and sys lie below ``root``."""
    return IdleTemperature()
