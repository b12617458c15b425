"""How long to wait before a step is tried again: exponential with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter spreads retries best).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the wait, in seconds."""

    base_s: float = 0.5
    cap_s: float = 60.0

    def wait_s(self, failures: int, uniform: float, retry_after_s: float | None = None) -> float:
        """The wait after ``failures`` (>= 1) in a row; ``uniform`` is a random number in [0, 1).

        A hint of the other side is a floor under the jitter.
        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(max(failures, 1) - 1, 30))
        return max(ceiling * uniform, retry_after_s or 0.0)
