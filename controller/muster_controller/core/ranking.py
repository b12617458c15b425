"""The order in which an objective, or a weighted mix of objectives, prefers options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muster_controller.core.measured import key_of
from muster_controller.core.option import Option
from muster_controller.core.pareto import Point
from muster_controller.core.policy_terms import Metric, Objective, Policy

_LATENCIES = (Metric.P95_MS, Metric.P90_MS, Metric.P50_MS)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How options compare under one policy."""

    latency: Metric  # the percentile that speaks for latency: one that every comparable option has
    objectives: frozenset[Objective]

    def latency_ms(self, option: Option) -> float:
        value = option.figures[self.latency].value
        return math.inf if value is None else value

    def point(self, option: Option) -> Point:
        """Quality and latency, then what else the objective looks at; smaller is better."""
        point = [_quality_cost(option), self.latency_ms(option)]
        if Objective.ENERGY in self.objectives:
            point.append(_value(option, Metric.ENERGY_MJ))
        if Objective.SIZE in self.objectives:
            point.append(_value(option, Metric.SIZE_MB))
        return tuple(point)


def ranking_of(options: Sequence[Option], policy: Policy) -> Ranking:
    """The ranking for these options; the policy's own percentile speaks for latency when all of them have it."""
    bound = policy.slo_constraint()
    wanted = ((bound.metric,) if bound else ()) + _LATENCIES
    comparable = [option for option in options if option.is_comparable]
    latency = next(
        (metric for metric in wanted if all(option.figures[metric].value is not None for option in comparable)),
        Metric.P50_MS,
    )
    return Ranking(latency, policy.objectives)


def best_first(options: Sequence[Option], ranking: Ranking, policy: Policy) -> tuple[Option, ...]:
    """Feasible options by falling utility; ties go to quality, then latency, size and the configuration's name.

    Utility is the weighted sum of each objective scaled to 0..1 over ``options``: quality linearly, latency, energy
    and size by their logarithm (a halving is worth the same everywhere).
    """
    scales = {objective: _scale(options, _cost(objective, ranking)) for objective in ranking.objectives}

    def utility(option: Option) -> float:
        # Rounded, so that equal figures never differ by the last bit of a sum.
        return round(math.fsum(weight * scales[objective](option) for objective, weight in policy.weights), 12)

    return tuple(
        sorted(
            options,
            key=lambda option: (
                -utility(option),
                _quality_cost(option),
                ranking.latency_ms(option),
                _value(option, Metric.SIZE_MB),
                key_of(option.configuration),
            ),
        )
    )


def _cost(objective: Objective, ranking: Ranking) -> Callable[[Option], float]:
    match objective:
        case Objective.ACCURACY:
            return _quality_cost
        case Objective.LATENCY:
            return lambda option: _log(ranking.latency_ms(option))
        case Objective.ENERGY:
            return lambda option: _log(_value(option, Metric.ENERGY_MJ))
        case Objective.SIZE:
            return lambda option: _log(_value(option, Metric.SIZE_MB))


def _scale(options: Sequence[Option], cost: Callable[[Option], float]) -> Callable[[Option], float]:
    costs = [cost(option) for option in options]
    low, high = min(costs, default=0.0), max(costs, default=0.0)
    if not low < high:
        return lambda _: 1.0
    return lambda option: (high - cost(option)) / (high - low)


def _quality_cost(option: Option) -> float:
    return math.inf if option.quality.value is None else -option.quality.value


def _value(option: Option, metric: Metric) -> float:
    value = option.figures[metric].value
    return math.inf if value is None else value


def _log(value: float) -> float:
    return math.log(max(value, 1e-12))
