"""The guard in a discrete-event simulation: one inference at a time, first come first served, on a manual clock."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from muster_agent.core.guard import Guard, GuardSettings, Move
from muster_protos.model import Configuration, Rung, ServingGrant, Slo

MS = 1_000_000
S = 1_000_000_000


@dataclass
class Outcome:
    """What a simulated stream got."""

    offered: int = 0
    late: int = 0
    shed: int = 0
    answered_by: dict[int, int] = field(default_factory=dict)
    moves: list[tuple[float, Move]] = field(default_factory=list)
    missed_at_s: list[float] = field(default_factory=list)

    @property
    def missed_ratio(self) -> float:
        return (self.late + self.shed) / self.offered


def ladder(*p50_ms: float, slo_ms: float = 50, spread: float = 1.1) -> ServingGrant:
    rungs = tuple(
        Rung(Configuration(f"rung{index}", "onnxruntime", "cpu", 1), round(p50 * MS), round(p50 * spread * MS))
        for index, p50 in enumerate(p50_ms)
    )
    return ServingGrant("d1", rungs, Slo(round(slo_ms * MS), 95.0))


def arrivals(phases: Sequence[tuple[float, float]], seed: int) -> list[int]:
    """Poisson arrivals in ns for phases of (rate per s, seconds)."""
    source, at, times, start = random.Random(seed), 0.0, [], 0.0
    for rate, seconds in phases:
        at = start
        while rate > 0 and (at := at + source.expovariate(rate)) < start + seconds:
            times.append(round(at * S))
        start += seconds
    return times


def simulate(
    grant: ServingGrant,
    times: Sequence[int],
    seed: int = 1,
    slowdown: Callable[[float], float] = lambda at_s: 1.0,
    jitter: float = 0.06,
    hiccup: float = 0.0,
    settings: GuardSettings | None = None,
) -> Outcome:
    source, guard, outcome = random.Random(seed), Guard(grant, settings), Outcome(offered=len(times))
    coming, queue, now, next_tick, last_rung = deque(times), deque[int](), 0, S, guard.active

    def note(move: Move | None) -> None:
        if move is not None:
            outcome.moves.append((now / S, move))

    while coming or queue:
        while coming and coming[0] <= now:
            guard.arrived(coming[0])
            queue.append(coming.popleft())
        if not queue:
            now = min(coming[0], next_tick)
            if now == next_tick:
                note(guard.tick(now))
                next_tick += S
            continue
        arrival = queue.popleft()
        verdict = guard.decide(now, arrival, queue)
        note(verdict.move)
        if verdict.rung is None:
            outcome.shed += 1
            outcome.missed_at_s.append(now / S)
            continue
        service = grant.ladder[verdict.rung].p50_ns * slowdown(now / S) * source.lognormvariate(0, jitter)
        service += 60 * MS if source.random() < hiccup else 0
        now += round(service)
        next_tick = max(next_tick, now // S * S + S)
        guard.served(verdict.rung, round(service), now, is_first=verdict.rung != last_rung)
        last_rung = verdict.rung
        outcome.answered_by[verdict.rung] = outcome.answered_by.get(verdict.rung, 0) + 1
        if now - arrival > grant.slo.latency_ns:
            outcome.late += 1
            outcome.missed_at_s.append(now / S)
    return outcome


BURST = [(10, 10), (70, 10), (10, 15)]  # 20 ms a request: the best rung answers 50/s, the cheap one 200/s


@pytest.mark.parametrize("seed", range(5))
def test_a_burst_over_the_best_rungs_capacity_misses_less_than_one_percent(seed: int) -> None:
    outcome = simulate(ladder(20, 5), arrivals(BURST, seed), seed, jitter=0.1)
    assert outcome.missed_ratio < 0.01
    assert outcome.shed == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_best_rung_alone_misses_more_than_five_percent_of_the_same_burst(seed: int) -> None:
    outcome = simulate(ladder(20), arrivals(BURST, seed), seed, jitter=0.1)
    assert outcome.missed_ratio > 0.05


def test_it_goes_down_within_a_fifth_of_a_second_of_a_burst_and_up_again_after_it() -> None:
    outcome = simulate(ladder(20, 5), arrivals([(5, 10), (100, 10), (5, 30)], 1), jitter=0.1)
    first_down = next(at_s for at_s, move in outcome.moves if at_s >= 10 and move.direction == "down")
    first_up = next(at_s for at_s, move in outcome.moves if at_s > first_down and move.direction == "up")
    assert first_down < 10.2
    assert 20 < first_up < 27


def test_three_rungs_are_used_as_far_as_each_carries() -> None:
    outcome = simulate(ladder(40, 15, 4, slo_ms=100), arrivals([(4, 20), (30, 20), (120, 20), (4, 20)], 2), jitter=0.1)
    assert set(outcome.answered_by) == {0, 1, 2}
    assert outcome.missed_ratio < 0.01


def test_overload_of_the_cheapest_rung_is_shed_without_a_lock_up() -> None:
    """Twice what the cheapest rung can answer for ten seconds: most of its capacity still answers in time."""
    outcome = simulate(ladder(20, 5), arrivals([(10, 5), (400, 10), (10, 15)], 3), jitter=0.1)
    answered_in_time = outcome.offered - outcome.late - outcome.shed
    assert answered_in_time > 0.85 * 10 * 200
    assert all(at_s < 15.5 for at_s in outcome.missed_at_s)


def test_a_device_that_stands_still_recovers_by_its_probes() -> None:
    """Fifty times slower for ten seconds: nothing can be in time, then everything is again within two seconds."""
    outcome = simulate(
        ladder(20, 5), arrivals([(20, 40)], 4), slowdown=lambda at_s: 50.0 if 10 < at_s < 20 else 1.0, jitter=0.1
    )
    assert any(10 < at_s < 20 for at_s in outcome.missed_at_s)
    assert all(at_s < 22 for at_s in outcome.missed_at_s)


def test_a_slowdown_of_two_moves_down_and_back() -> None:
    outcome = simulate(
        ladder(20, 5), arrivals([(8, 60)], 5), slowdown=lambda at_s: 2.2 if 20 < at_s < 35 else 1.0, jitter=0.05
    )
    assert outcome.missed_ratio < 0.02
    during = [move for at_s, move in outcome.moves if 20 < at_s < 23]
    assert during
    assert during[0].direction == "down"
    assert any(move.direction == "up" for at_s, move in outcome.moves if at_s > 35)


@pytest.mark.parametrize("rate", [3, 10, 15, 20, 30, 100])
def test_a_steady_stream_makes_fewer_than_1500_moves_an_hour(rate: float) -> None:
    outcome = simulate(ladder(20, 5), arrivals([(rate, 300)], 6), jitter=0.1)
    assert len(outcome.moves) * 12 < 1500
    assert outcome.missed_ratio < 0.005
