"""What the guard believes of its surroundings: how slow the device is now, and how often requests arrive.

Times are monotonic nanoseconds and come in as arguments.
"""

from __future__ import annotations

import math

_NS_PER_S = 1_000_000_000
HALF_LIFE_NS = 2 * _NS_PER_S  # of a belief that nothing confirms
_FRESH_NS = _NS_PER_S // 4  # a belief younger than this is not relaxed
_LEAST = 1e-3  # nothing runs a thousand times as fast as on an idle device, whatever a clock says
_WEIGHT = 0.15  # of one observation; about the last dozen count
_WEIGHT_SPAN_NS = 300_000_000  # rare observations count more: after this gap, about 0.6


class Slowdown:
    """Service time over benchmarked idle time: exponentially weighted mean and standard deviation.

    Relaxes to its prior with a half-life of two seconds when unobserved, so that one bad second does not keep a
    device low for ever. An observation moves the mean by at most its own size: one hiccup of the scheduler (a 5 ms
    inference that takes 100 ms) must not make every rung look hopeless, a lasting slowdown is followed in a few steps.
    """

    __slots__ = ("_last_ns", "_mean", "_prior_variance", "_variance")

    PRIOR_MEAN = 1.0

    def __init__(self, prior_sigma: float = 0.1) -> None:
        self._prior_variance = prior_sigma * prior_sigma
        self._mean = self.PRIOR_MEAN
        self._variance = self._prior_variance
        self._last_ns: int | None = None

    def observe(self, ratio: float, now_ns: int) -> None:
        """Take in one service time divided by the rung's benchmarked p50; ratios that are no number are ignored."""
        if not (math.isfinite(ratio) and ratio > 0):
            return
        mean, sigma = self.read(now_ns)
        gap_ns = _WEIGHT_SPAN_NS if self._last_ns is None else max(0, now_ns - self._last_ns)
        weight = max(_WEIGHT, 1 - 0.4 ** (gap_ns / _WEIGHT_SPAN_NS))
        difference = min(ratio, mean + max(4 * sigma, mean)) - mean
        self._mean = max(_LEAST, mean + weight * difference)
        self._variance = (1 - weight) * (sigma * sigma + weight * difference * difference)
        self._last_ns = now_ns

    def read(self, now_ns: int) -> tuple[float, float]:
        """Mean and standard deviation as believed at ``now_ns``."""
        unseen_ns = 0 if self._last_ns is None else now_ns - self._last_ns - _FRESH_NS
        if unseen_ns <= 0:
            return self._mean, math.sqrt(self._variance)
        kept = 0.5 ** (unseen_ns / HALF_LIFE_NS)
        variance = self._prior_variance + (self._variance - self._prior_variance) * kept
        return self.PRIOR_MEAN + (self._mean - self.PRIOR_MEAN) * kept, math.sqrt(variance)


class ArrivalRate:
    """Requests per second over the last two seconds, or over the last half second when that is surely more."""

    __slots__ = ("_counts", "_first_ns", "_slot")

    SLOT_NS = 50_000_000
    SLOTS = 40  # two seconds
    _RECENT = 10  # half a second

    def __init__(self) -> None:
        self._counts = [0] * self.SLOTS
        self._slot: int | None = None
        self._first_ns = 0

    def arrived(self, now_ns: int) -> None:
        """Count one request."""
        if self._slot is None:
            self._first_ns = now_ns
        self._advance(now_ns)
        self._counts[now_ns // self.SLOT_NS % self.SLOTS] += 1

    def per_s(self, now_ns: int) -> float:
        """The rate at ``now_ns``.

        The half second counts with its lower two-sigma bound (Poisson), so that a burst is seen within a few hundred
        milliseconds while the noise of a quiet stream is not taken for one.
        """
        if self._slot is None:
            return 0.0
        self._advance(now_ns)
        span_ns = min(self.SLOTS * self.SLOT_NS, max(now_ns - self._first_ns, _NS_PER_S // 2))
        recent = sum(self._counts[(self._slot - index) % self.SLOTS] for index in range(self._RECENT))
        sure = (recent - 2 * math.sqrt(recent)) / (self._RECENT * self.SLOT_NS / _NS_PER_S)
        return max(sum(self._counts) * _NS_PER_S / span_ns, sure)

    def _advance(self, now_ns: int) -> None:
        slot = now_ns // self.SLOT_NS
        if self._slot is None:
            self._slot = slot
        passed = slot - self._slot
        if passed >= self.SLOTS:
            self._counts = [0] * self.SLOTS
        else:
            for index in range(1, passed + 1):
                self._counts[(self._slot + index) % self.SLOTS] = 0
        self._slot = max(slot, self._slot)


class Overhead:
    """What a request costs beside queue and inference (reading, parsing, writing): mean plus two deviations, in ns."""

    __slots__ = ("_ceiling_ns", "_mean_ns", "_variance")

    def __init__(self, first_guess_ns: float, ceiling_ns: float) -> None:
        self._mean_ns = first_guess_ns
        self._variance = 0.0
        self._ceiling_ns = ceiling_ns

    def observe(self, overhead_ns: float) -> None:
        """Take in one request; what is over the ceiling counts as the ceiling."""
        difference = min(max(overhead_ns, 0.0), self._ceiling_ns) - self._mean_ns
        self._mean_ns += _WEIGHT * difference
        self._variance = (1 - _WEIGHT) * (self._variance + _WEIGHT * difference * difference)

    @property
    def reserve_ns(self) -> float:
        """How much of the SLO to keep free for it."""
        return min(self._ceiling_ns, self._mean_ns + 2 * math.sqrt(self._variance))


class CpuCost:
    """How long a request keeps the tighter of two busy: the inference thread, or all the CPU the process may use.

    On a quarter of a core reading and writing a request takes four times its CPU time from the inferences; on two cores
    it costs them nothing.
    """

    __slots__ = ("_beside_ns", "_cores")

    def __init__(self) -> None:
        self._beside_ns: float | None = None
        self._cores = math.inf

    def observe(self, beside_ns: float, cores: float) -> None:
        """Take in what a request of the last half second cost in CPU time beside its inference."""
        if not (math.isfinite(beside_ns) and beside_ns >= 0 and cores > 0):
            return
        before_ns = beside_ns if self._beside_ns is None else self._beside_ns
        self._beside_ns = before_ns + 0.3 * (beside_ns - before_ns)
        self._cores = cores

    def busy_ns(self, service_ns: float) -> float:
        """Service time of the tighter one. An inference that a quota stretched took only its share of a core."""
        if self._beside_ns is None or self._cores == math.inf:
            return service_ns
        return max(service_ns, (service_ns * min(1.0, self._cores) + self._beside_ns) / self._cores)
