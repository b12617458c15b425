"""How long to wait before a step is tried again: exponential with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter spreads retries best).
"""

from __future__ import annotations

from dataclasses import dataclass

_MAX_EXPONENT = 200


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the wait, in seconds."""

    base_s: float = 0.5
    cap_s: float = 60.0
    growth: float = 2.0  # of the ceiling, from one failure to the next

    def ceiling_s(self, failures: int) -> float:
        """The longest wait after ``failures`` (>= 1) in a row."""
        return min(self.cap_s, self.base_s * self.growth ** min(max(failures, 1) - 1, _MAX_EXPONENT))

    def wait_s(self, failures: int, uniform: float, retry_after_s: float | None = None) -> float:
        """The wait after ``failures`` (>= 1) in a row; ``uniform`` is a random number in [0, 1).

        A hint of the other side is a floor under the jitter.
        """
        return max(self.ceiling_s(failures) * uniform, retry_after_s or 0.0)
