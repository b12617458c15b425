"""What became of each option, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from muster_controller.core.judge import shown
from muster_controller.core.option import Option
from muster_controller.core.pareto import dominates
from muster_controller.core.policy_terms import Metric, Objective
from muster_controller.core.ranking import Ranking

CHOSEN = "chosen"
LADDER = "ladder"


def verdict_of(option: Option, ladder: Sequence[Option], feasible: Sequence[Option], ranking: Ranking) -> str:
    """Why the option is where it is; ``feasible`` is ordered best first."""
    misses = "; ".join(violation.text for violation in option.violations)
    if option in ladder:
        if option is ladder[0]:
            return CHOSEN
        return f"{LADDER}: emergency rung, though {misses}" if misses else LADDER
    if option.problem or misses:
        return option.problem or misses
    return _outranked(option, ladder, feasible, ranking)


def nearest_miss(options: Sequence[Option]) -> str:
    """The option that came closest to meeting every constraint."""
    if not options:
        return "no configuration has been benchmarked on this device"
    comparable = [option for option in options if option.is_comparable]
    if not comparable:
        return f"{options[0].name}: {options[0].problem}"
    nearest = min(comparable, key=lambda option: (_distance(option), option.name))
    misses = "; ".join(violation.text for violation in nearest.violations)
    distance = _distance(nearest)
    beyond = f" ({distance:.1%} beyond the bound)" if math.isfinite(distance) else ""
    return f"{nearest.name}: {misses}{beyond}"


def _distance(option: Option) -> float:
    return max((violation.relative for violation in option.violations), default=0.0)


def _outranked(option: Option, ladder: Sequence[Option], feasible: Sequence[Option], ranking: Ranking) -> str:
    point = ranking.point(option)
    for other in feasible:
        if other is option:
            continue
        if dominates(ranking.point(other), point):
            return f"dominated by {other.name}: {_compared(other, option, ranking)}"
    chosen = ladder[0]
    if ranking.point(chosen) == point:
        return f"same figures as {chosen.name}"
    same = next((rung for rung in ladder if rung.configuration.variant_id == option.configuration.variant_id), None)
    if same is not None:
        return f"the same variant is in the ladder as {same.name}"
    if ranking.latency_ms(option) < ranking.latency_ms(chosen) and not _is_better(option, chosen):
        return f"on the frontier, left out of a ladder of {len(ladder)} in even steps"
    wanted = " and ".join(sorted(objective.value for objective in ranking.objectives))
    return f"meets every constraint, but {wanted} prefers {chosen.name}: {_compared(chosen, option, ranking)}"


def _is_better(option: Option, chosen: Option) -> bool:
    one, other = option.quality.value, chosen.quality.value
    return one is not None and other is not None and one >= other


def _compared(better: Option, worse: Option, ranking: Ranking) -> str:
    """``accuracy 0.98 against 0.97, p95_ms 3.1 ms against 5 ms``: the figures that differ."""
    parts: list[str] = []
    if better.quality.value is not None and worse.quality.value is not None:
        parts.append(_pair(better.quality.kind, f"{better.quality.value:.4g}", f"{worse.quality.value:.4g}"))
    metrics = [ranking.latency]
    metrics += [Metric.ENERGY_MJ] if Objective.ENERGY in ranking.objectives else []
    metrics += [Metric.SIZE_MB] if Objective.SIZE in ranking.objectives else []
    for metric in metrics:
        one, other = better.figures[metric].value, worse.figures[metric].value
        if one is not None and other is not None:
            parts.append(_pair(metric.value, shown(metric, one), shown(metric, other)))
    return ", ".join(parts)


def _pair(name: str, one: str, other: str) -> str:
    return f"{name} {one} against {other}" if one != other else f"{name} {one} both"
