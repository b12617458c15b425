"""The guard: which rung answers the next request, whether it is refused, and when the ladder is climbed again.

Called once per request, when it leaves the queue, and once a second. A rung is feasible when

1. this request is in time on it:     lat * (xi + z * sigma) <= its remaining slack,
2. the stream is in time on it:       p99 of the backlog, lat * (1 + ln(100) * rho / (2 (1 - rho))), <= SLO, rho < 0.95,
                                      with lat = max(lat, CPU time of a whole request / usable cores),
3. those who wait can still be saved: after it, each of them is in time on the fastest rung, though each took
                                      drain_ratio times as long there as is expected (more may come meanwhile).

The most accurate feasible rung is chosen: down at once, up when it has been feasible, with room to spare, for a whole
dwell. Points 1 and 2 are the queueing rule (docs/serving.md); point 3 catches a burst before two seconds of rate show
it. What cannot finish in time even on the fastest rung is refused, but one probe in half a second is served: refusing
without a probe would never learn that the device has recovered.

Pure: times are monotonic ns and come in as arguments. Not thread-safe: its owner holds a lock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from muster_agent.core.estimate import ArrivalRate, CpuCost, Overhead, Slowdown
from muster_agent.core.queueing import backlog_p99_ns, rescue_start_ns, utilisation
from muster_agent.core.rung import RungState
from muster_protos.model import ServingGrant

_MS = 1_000_000
_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The rule's constants; ``benchmarks/fallback.py`` and the simulations in the tests are what they were set by."""

    z: float = 2.0  # standard deviations of the slowdown that a service time is charged
    margin_ratio: float = 0.05  # of the SLO, kept free for what is not seen here
    drain_ratio: float = 3.0  # those who wait are charged this many times their time on the fastest rung
    climb_ratio: float = 0.9  # a better rung must fit into this share of the SLO
    dwell_ns: int = 2 * _S  # for this long, when the stream had
    dip_dwell_ns: int = 1 * _S  # for this long, when only a cluster of requests had forced it down
    dwell_max_ns: int = 32 * _S  # doubled up to this by climbs that do not last
    settled_ns: int = 20 * _S  # a climb that lasts this long forgives the earlier ones
    probe_ns: int = 500 * _MS  # while refusing, one request in this long is served
    trial_ns: int = 10 * _S  # a better rung that did not answer for this long is tried on its own record ...
    trial_max_ns: int = 320 * _S
    trial_slowdown: float = 2.0  # ... unless the device is slower than this


@dataclass(frozen=True, slots=True)
class Move:
    """The rung changed."""

    from_index: int
    to_index: int
    direction: str  # "down", "up"
    reason: str  # in words, with figures


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request."""

    rung: int | None  # index in the ladder; None = refuse it
    move: Move | None = None
    is_probe: bool = False


class _Obstacle(Enum):
    SLACK = "slack"
    BACKLOG = "backlog"
    RESCUE = "rescue"
    GONE = "gone"  # capped, unpinned or unloaded


@dataclass(slots=True)
class _Moment:
    """Everything that one decision looks at."""

    now_ns: int
    slack_ns: float  # of the request at hand, a fresh one at a tick
    limit_ns: float  # the SLO less what is kept free
    rate_per_s: float
    slowdown: float
    waiting: int
    rescue_ns: float  # those who wait must be begun by then


class Guard:
    """Moves one model's rung within its ladder; see the module's docstring for the rule.

    Raises:
        ValueError: an empty ladder, or a rung without a measured latency.
    """

    def __init__(self, grant: ServingGrant, settings: GuardSettings | None = None) -> None:
        if not grant.ladder:
            raise ValueError("expected a ladder of at least one rung, found none")
        self.settings = settings or GuardSettings()
        self.rate = ArrivalRate()
        self.shared = Slowdown()
        self.cpu = CpuCost()
        self._rungs = [RungState(rung) for rung in grant.ladder]
        self._slo_ns = float(grant.slo.latency_ns) if grant.slo.latency_ns > 0 else math.inf
        has_slo = self._slo_ns < math.inf
        self._overhead = Overhead(0.02 * self._slo_ns if has_slo else 0.0, 0.25 * self._slo_ns if has_slo else _S)
        self._resident = frozenset(range(len(self._rungs)))
        self._lost: frozenset[int] = frozenset()
        self._pin = self._index_of(grant.pinned_variant_id)
        self._cap, self._cap_reason = 0, ""
        self._permitted: tuple[int, ...] = ()
        self._allowed = self._allow()
        self._active = self._allowed[0]
        self._dwell_ns, self._trial_wait_ns = self.settings.dwell_ns, self.settings.trial_ns
        self._dwell_now_ns = self._dwell_ns
        self._climbed_ns: int | None = None
        self._is_on_trial = False
        self._descended_ns = 0
        self._began_ns: int | None = None
        self._wanted = self._active

    # ---- what its owner asks ----

    @property
    def active(self) -> int:
        """Index of the rung that answers."""
        return self._active

    @property
    def wanted(self) -> int:
        """The best rung that would be feasible, resident or not: what to load when memory is tight."""
        return self._wanted

    def decide(self, now_ns: int, arrival_ns: int, waiting_ns: Sequence[int]) -> Verdict:
        """What to do with the request that leaves the queue now.

        Args:
            now_ns: monotonic.
            arrival_ns: when it came.
            waiting_ns: arrivals of those behind it, oldest first.
        """
        moment = self._moment(now_ns, arrival_ns, waiting_ns)
        move = self._settle(moment)
        left_ns = (
            moment.slack_ns + self.settings.margin_ratio * self._slo_ns
        )  # to finish in time, with nothing to spare
        if self._fastest_ns(moment.slowdown, now_ns) <= left_ns:
            self._began_ns = now_ns
            return Verdict(self._active, move)
        if self._began_ns is None or now_ns - self._began_ns >= self.settings.probe_ns:
            self._began_ns = now_ns
            return Verdict(self._active, move, is_probe=True)
        return Verdict(None, move)

    def tick(self, now_ns: int) -> Move | None:
        """Once a second: climb also when nobody asks anything."""
        return self._settle(self._moment(now_ns, now_ns, ()))

    def fail_safe(self) -> int:
        """The fastest rung there is, by the benchmark alone: what to use when the rule itself fails."""
        candidates = self._resident or frozenset(range(len(self._rungs)))
        self._active = min(candidates, key=lambda index: self._rungs[index].idle_ns)
        return self._active

    # ---- what its owner tells ----

    def arrived(self, now_ns: int) -> None:
        """A request came, refused later or not."""
        self.rate.arrived(now_ns)

    def served(self, rung: int, service_ns: int, now_ns: int, is_first: bool = False) -> None:
        """An inference ended. The first one after a switch is that switch's price, not a slowdown."""
        state = self._rungs[rung]
        if is_first:
            extra_ns = max(0.0, service_ns - state.idle_ns * max(1.0, self.shared.read(now_ns)[0]))
            state.price_ns += 0.3 * (extra_ns - state.price_ns)
            return
        self.shared.observe(state.observe(service_ns, now_ns), now_ns)

    def spent_beside(self, overhead_ns: int) -> None:
        """What an answered request took beside its queueing and its inference."""
        self._overhead.observe(overhead_ns)

    def spent_cpu(self, beside_ns: float, cores: float) -> None:
        """CPU time of a request beside its inference, and the cores that the serving process may use."""
        self.cpu.observe(beside_ns, cores)

    def cap(self, highest_rung: int, reason: str) -> None:
        """The slow loop's verdict: no rung above this index; the next decision or tick obeys."""
        self._cap, self._cap_reason = min(max(highest_rung, 0), len(self._rungs) - 1), reason
        self._allowed = self._allow()

    def pin(self, variant_id: str) -> None:
        """Serve this variant whatever happens; empty gives the choice back to the rule."""
        self._pin = self._index_of(variant_id)
        self._allowed = self._allow()

    def resident(self, rungs: AbstractSet[int]) -> None:
        """Which rungs are loaded; only these can answer."""
        self._resident = frozenset(rungs)
        self._allowed = self._allow()

    def lost(self, rung: int) -> None:
        """This rung's runtime fails: never use it again."""
        self._lost |= {rung}
        self._allowed = self._allow()

    def inherit(self, other: Guard) -> None:
        """Take over what another grant's guard knows of the stream and of the device."""
        self.rate, self.shared, self.cpu = other.rate, other.shared, other.cpu

    # ---- the rule ----

    def _moment(self, now_ns: int, arrival_ns: int, waiting_ns: Sequence[int]) -> _Moment:
        slowdown = max(1.0, self.shared.read(now_ns)[0])
        limit_ns = self._slo_ns * (1 - self.settings.margin_ratio) - self._overhead.reserve_ns
        rescue_ns = math.inf
        if waiting_ns and limit_ns < math.inf:
            # At the pace of whole requests, and not to the last: while they are served others come and are read.
            drain_ns = self.settings.drain_ratio * self.cpu.busy_ns(self._fastest_ns(slowdown, now_ns))
            rescue_ns = rescue_start_ns(waiting_ns, limit_ns, drain_ns) - self._price_to_fastest_ns()
        return _Moment(
            now_ns=now_ns,
            slack_ns=limit_ns - (now_ns - arrival_ns),
            limit_ns=limit_ns,
            rate_per_s=self.rate.per_s(now_ns),
            slowdown=slowdown,
            waiting=len(waiting_ns),
            rescue_ns=rescue_ns,
        )

    def _settle(self, moment: _Moment) -> Move | None:
        """Move the active rung where it belongs."""
        if self._active not in self._allowed:
            return self._descend(_Obstacle.GONE, moment)
        obstacle = self._obstacle(self._active, moment, trust_own=self._is_on_trial)
        if obstacle is not None:
            return self._descend(obstacle, moment)
        return self._climb(moment)

    def _obstacle(self, index: int, moment: _Moment, share: float = 1.0, trust_own: bool = False) -> _Obstacle | None:
        """Why this rung should not answer now; None when it may.

        ``share`` of the limits is what a climb may use; ``trust_own``: believe the rung's own record, not the others'.
        """
        times_ns = self._times_ns(index, moment, trust_own)
        _, charged_ns = times_ns
        if charged_ns > moment.slack_ns:
            return _Obstacle.SLACK
        if moment.now_ns + charged_ns > moment.rescue_ns:
            return _Obstacle.RESCUE
        return self._stream_obstacle(index, times_ns, moment, share)

    def _stream_obstacle(
        self, index: int, times_ns: tuple[float, float], moment: _Moment, share: float
    ) -> _Obstacle | None:
        """The part that does not depend on the requests at hand."""
        expected_ns, charged_ns = times_ns
        if share < 1:
            charged_ns += self._rungs[index].price_ns
        if charged_ns > share * moment.limit_ns:
            return _Obstacle.SLACK
        if backlog_p99_ns(self.cpu.busy_ns(expected_ns), moment.rate_per_s) > share * moment.limit_ns:
            return _Obstacle.BACKLOG
        return None

    def _descend(self, obstacle: _Obstacle, moment: _Moment) -> Move | None:
        is_gone = obstacle is _Obstacle.GONE
        below = [index for index in self._allowed if is_gone or index > self._active]
        for state in self._rungs:
            state.feasible_since_ns = None
        if not below:
            return None
        feasible = (index for index in below if self._obstacle(index, moment) is None)
        target = next(feasible, min(below, key=lambda index: self._rungs[index].idle_ns))
        now_ns, settings = moment.now_ns, self.settings
        times_ns = self._times_ns(self._active, moment, self._is_on_trial)
        is_stream = not is_gone and self._stream_obstacle(self._active, times_ns, moment, 1.0) is not None
        self._dwell_now_ns = self._dwell_ns if is_stream else settings.dip_dwell_ns
        if is_stream and self._climbed_ns is not None and now_ns - self._climbed_ns < settings.settled_ns:
            self._dwell_ns = self._dwell_now_ns = min(2 * self._dwell_ns, settings.dwell_max_ns)
            if self._is_on_trial:
                self._trial_wait_ns = min(2 * self._trial_wait_ns, settings.trial_max_ns)
        reason = self._why_down(obstacle, moment)
        self._is_on_trial = False
        self._descended_ns = now_ns
        return self._move(target, reason)

    def _climb(self, moment: _Moment) -> Move | None:
        if self._climbed_ns is not None and moment.now_ns - self._climbed_ns >= self.settings.settled_ns:
            self._dwell_ns, self._trial_wait_ns = self.settings.dwell_ns, self.settings.trial_ns
            self._is_on_trial = False
        ready = [index for index in self._permitted if index < self._active and self._has_dwelt(index, moment)]
        self._wanted = ready[0] if ready else self._active
        target = next((index for index in ready if index in self._resident), None)
        is_trial = target is None
        if target is None:
            target = self._trial(moment)
        if target is None:
            return None
        self._is_on_trial = is_trial
        self._climbed_ns = moment.now_ns
        for state in self._rungs:
            state.feasible_since_ns = None
        return self._move(target, self._why_up(target, moment))

    def _has_dwelt(self, index: int, moment: _Moment) -> bool:
        """Whether the stream has fitted it for a dwell, and the requests at hand do now."""
        state = self._rungs[index]
        share = self.settings.climb_ratio
        if self._stream_obstacle(index, self._times_ns(index, moment), moment, share) is not None:
            state.feasible_since_ns = None
            return False
        if state.feasible_since_ns is None:
            state.feasible_since_ns = moment.now_ns
        has_dwelt = moment.now_ns - state.feasible_since_ns >= self._dwell_now_ns
        return has_dwelt and self._obstacle(index, moment, share) is None

    def _trial(self, moment: _Moment) -> int | None:
        """The next better rung, when it has not answered for long and only another rung's slowdown speaks against it.

        A cheap rung can look slow for reasons that do not scale (a cold cache, a busy interpreter); without a trial
        such a device would never climb again.
        """
        above = [index for index in self._allowed if index < self._active]
        if not above or moment.slowdown > self.settings.trial_slowdown:
            return None
        index = above[-1]
        state = self._rungs[index]
        is_dwelling = state.feasible_since_ns is not None
        if is_dwelling or moment.now_ns - max(self._descended_ns, state.seen_ns or 0) < self._trial_wait_ns:
            return None
        obstacle = self._obstacle(index, moment, self.settings.climb_ratio, trust_own=True)
        return index if obstacle is None else None

    def _move(self, target: int, reason: str) -> Move:
        origin, self._active = self._active, target
        self._wanted = target
        return Move(origin, target, "down" if target > origin else "up", reason)

    def _allow(self) -> tuple[int, ...]:
        count = len(self._rungs)
        usable = (self._pin,) if self._pin is not None else range(self._cap, count)
        self._permitted = tuple(index for index in usable if index not in self._lost)
        allowed = tuple(index for index in self._permitted if index in self._resident)
        return allowed or tuple(sorted(self._resident))[-1:] or (count - 1,)

    def _times_ns(self, index: int, moment: _Moment, trust_own: bool = False) -> tuple[float, float]:
        return self._rungs[index].times_ns(moment.slowdown, self.settings.z, moment.now_ns, trust_own)

    def _fastest_ns(self, slowdown: float, now_ns: int) -> float:
        return min(self._rungs[index].expected_ns(slowdown, now_ns) for index in self._allowed)

    def _price_to_fastest_ns(self) -> float:
        """What a switch to the fastest rung would cost, as far as one has been seen."""
        fastest = min(self._allowed, key=lambda index: self._rungs[index].idle_ns)
        return 0.0 if fastest == self._active else self._rungs[fastest].price_ns

    def _index_of(self, variant_id: str) -> int | None:
        return next((i for i, state in enumerate(self._rungs) if variant_id and state.variant_id == variant_id), None)

    # ---- reasons, in words ----

    def _why_down(self, obstacle: _Obstacle, moment: _Moment) -> str:
        state = self._rungs[self._active]
        expected, charged = self._times_ns(self._active, moment, self._is_on_trial)
        if obstacle is _Obstacle.GONE:
            if self._pin is not None:
                return f"pinned to {self._rungs[self._pin].variant_id}"
            return f"capped at rung {self._cap}: {self._cap_reason}" if self._active < self._cap else "no longer loaded"
        if obstacle is _Obstacle.SLACK:
            return (
                f"the next request needs up to {_ms(charged)} ms on {state.variant_id} "
                f"({expected / state.idle_ns:.1f} x its idle time) and has {_ms(moment.slack_ns)} of "
                f"{_ms(self._slo_ns)} ms left"
            )
        if obstacle is _Obstacle.RESCUE:
            return (
                f"{moment.waiting} wait: after {_ms(charged)} ms on {state.variant_id} not all of them could be "
                f"answered within {_ms(self._slo_ns)} ms even on the fastest rung"
            )
        busy_ns = self.cpu.busy_ns(expected)
        busy = utilisation(busy_ns, moment.rate_per_s)
        p99_ns = backlog_p99_ns(busy_ns, moment.rate_per_s)
        backlog = "without end" if p99_ns == math.inf else f"{_ms(p99_ns)} ms at p99"
        return (
            f"{moment.rate_per_s:.1f} requests/s would keep {state.variant_id} {busy:.0%} busy: "
            f"a backlog {backlog} against {_ms(self._slo_ns)} ms"
        )

    def _why_up(self, target: int, moment: _Moment) -> str:
        state = self._rungs[target]
        if self._is_on_trial:
            return f"a trial: {state.variant_id} has not answered for {self._trial_wait_ns / _S:.0f} s and should fit"
        busy_ns = self.cpu.busy_ns(state.expected_ns(moment.slowdown, moment.now_ns))
        p99_ns = backlog_p99_ns(busy_ns, moment.rate_per_s)
        return (
            f"{state.variant_id} has fitted for {self._dwell_ns / _S:.0f} s: {moment.rate_per_s:.1f} requests/s, "
            f"{_ms(p99_ns)} ms at p99 against {_ms(self._slo_ns)} ms"
        )


def _ms(ns: float) -> str:
    return f"{ns / _MS:.1f}"
