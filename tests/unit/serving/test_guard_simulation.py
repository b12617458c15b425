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
