"""One rung as the guard sees it: what it measured idle on this device, and how it has done since."""

from __future__ import annotations

import math

from muster_agent.core.estimate import Slowdown
from muster_protos.model import Rung

_Z_P95 = 1.645  # standard normal
_SEEN_NS = 1_000_000_000
_SHIFT_DOUBT = 0.25  # a shared slowdown that another rung showed is this uncertain for an unseen one


class RungState:
    """Belief about one rung's service time.

    Raises:
        ValueError: no measured latency; such a rung cannot be reasoned about.
    """

    __slots__ = ("feasible_since_ns", "idle_ns", "own", "p95_ns", "price_ns", "seen_ns", "variant_id")

    def __init__(self, rung: Rung) -> None:
        self.variant_id = rung.configuration.variant_id
        if rung.p50_ns <= 0:
            raise ValueError(f"expected a measured p50 of {self.variant_id or 'a rung'}, found {rung.p50_ns} ns")
        self.p95_ns = float(max(rung.p95_ns, rung.p50_ns))
        # The mean is what a queue feels: under a CPU quota most inferences run at full speed and some wait long.
        self.idle_ns = min(self.p95_ns, float(max(rung.p50_ns, rung.mean_ns or 0)))
        self.own = Slowdown(min(0.5, max(0.05, (self.p95_ns / self.idle_ns - 1) / _Z_P95)))
        self.price_ns = 0.0  # what its first inference after a switch costs beyond a usual one
        self.seen_ns: int | None = None  # when it last answered
        self.feasible_since_ns: int | None = None

    def observe(self, service_ns: int, now_ns: int) -> float:
        """Take in one service time; returns it as a ratio of the idle one."""
        ratio = service_ns / self.idle_ns
        self.own.observe(ratio, now_ns)
        self.seen_ns = now_ns
        return ratio

    def is_seen(self, now_ns: int, within_ns: int = _SEEN_NS) -> bool:
        """Whether it answered in the last ``within_ns``."""
        return self.seen_ns is not None and now_ns - self.seen_ns < within_ns

    def expected_ns(self, shared_mean: float, now_ns: int) -> float:
        """Mean service time: by its own slowdown while that is fresh, else by the one all rungs share."""
        return self.idle_ns * max(1.0, self.own.read(now_ns)[0] if self.is_seen(now_ns) else shared_mean)

    def times_ns(self, shared_mean: float, z: float, now_ns: int, trust_own: bool = False) -> tuple[float, float]:
        """Mean service time, and the one to be charged with: lat * (xi + z * sigma), at least xi * p95.

        ``z`` is in standard deviations; ``trust_own`` takes the rung's own slowdown though it was not seen lately.
        xi counts as at least 1: under a CPU quota a lone cheap inference can run faster than the benchmark's steady
        stream did, which says nothing of a longer one.
        """
        mean, sigma = self.own.read(now_ns)
        if not (trust_own or self.is_seen(now_ns)):
            sigma = math.hypot(sigma, _SHIFT_DOUBT * (shared_mean - 1))
            mean = shared_mean
        mean = max(1.0, mean)
        return self.idle_ns * mean, max(self.idle_ns * (mean + z * sigma), self.p95_ns * mean)
