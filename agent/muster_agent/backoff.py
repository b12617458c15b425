"""Full jitter: the only spread that does not let a fleet come back in waves.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from collections.abc import Callable

_MAX_EXPONENT = 30


class Backoff:
    """Delays drawn from (0, min(cap, base x 2^failures)); ``draw`` returns a number in [0, 1)."""

    def __init__(self, base_s: float, cap_s: float, draw: Callable[[], float]) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._draw = draw
        self._failures = 0

    def next_s(self, retry_after_s: float = 0.0) -> float:
        """The next delay, seconds; never below ``retry_after_s``, which the other side asked for."""
        ceiling_s = min(self._cap_s, self._base_s * float(1 << min(self._failures, _MAX_EXPONENT)))
        self._failures += 1
        return retry_after_s + ceiling_s * self._draw()

    def reset(self) -> None:
        """It worked: start from the base again."""
        self._failures = 0
