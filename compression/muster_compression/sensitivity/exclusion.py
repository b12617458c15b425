"""Which layers to leave in float: greedy, from the most sensitive on, for as long as it helps. Pure.

Measured on small CNNs: leaving out the most sensitive layer gave 5 dB, little came after two, and more could be worse.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muster_compression.sensitivity.closeness import Closeness

Measure = Callable[[frozenset[str]], Closeness]
"""Names of the layers in float -> how close the quantized model is to the float one."""


@dataclass(frozen=True, slots=True)
class Goal:
    """When to stop."""

    most_excluded: int = 4
    least_gain_db: float = 1.0  # what a layer must bring to be left in float
    sqnr_db: float | None = None  # enough
    agreement: float | None = None  # enough, 0..1
    most_cost: float = 1.0  # sum of the costs of the layers in float
    width: int = 3  # most sensitive layers that are tried in each round


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One layer more in float."""

    layer: str
    closeness: Closeness  # with this one and all before it in float (of a pair: with both)


@dataclass(frozen=True, slots=True)
class Excluded:
    """The layers that stay in float, in the order in which they were chosen."""

    start: Closeness  # everything quantized
    steps: tuple[Exclusion, ...]
    tried: int  # models that were compared
    reason: str  # why no more were excluded, for people

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(step.layer for step in self.steps)

    @property
    def end(self) -> Closeness:
        """How close the chosen model is."""
        return self.steps[-1].closeness if self.steps else self.start


def exclude_greedily(order: Sequence[str], measure: Measure, goal: Goal, costs: Mapping[str, float]) -> Excluded:
    """Exclude layers for as long as that helps: ``order`` has the most sensitive first, ``costs`` their share of work.

    Each round tries the ``width`` first of those that remain and takes the best. Where none of them brings
    ``least_gain_db`` it tries them in pairs, which must bring as much for each of the two: the tensor between two
    layers stays in 8 bits until both are in float.
    """
    start = best = measure(frozenset())
    steps, tried = list[Exclusion](), 1
    while True:
        stop, choices = _next(order, [step.layer for step in steps], best, goal, costs)
        if stop:
            return Excluded(start, tuple(steps), tried, stop)
        taken = {step.layer for step in steps}
        chosen: tuple[str, ...] = ()
        for choice in choices:
            found = [(measure(frozenset(taken | set(names))), names) for names in choice]
            tried += len(found)
            near, names = max(found, key=lambda item: (item[0].rank, item[0].agreement or 0.0))
            if near.rank >= best.rank + goal.least_gain_db * len(names):
                best, chosen = near, names
                break
        if not chosen:
            return Excluded(start, tuple(steps), tried, f"more gain less than {goal.least_gain_db:g} dB")
        steps += [Exclusion(name, best) for name in chosen]


def _next(
    order: Sequence[str], taken: Sequence[str], best: Closeness, goal: Goal, costs: Mapping[str, float]
) -> tuple[str, list[list[tuple[str, ...]]]]:
    """(why it ends here, or "", what to try: single layers, then pairs)."""
    if _is_enough(best, goal):
        return "the target is met", []
    if best.sqnr_db is None:
        return "nothing differs any more", []
    if len(taken) >= goal.most_excluded:
        return f"{goal.most_excluded} are as many as allowed", []
    remaining = [name for name in order if name not in taken]
    left = goal.most_cost - sum(costs.get(name, 0.0) for name in taken)
    affordable = [name for name in remaining if costs.get(name, 0.0) <= left][: goal.width]
    if not affordable:
        return "those that are left cost too much" if remaining else "no layer is left", []
    pairs = [
        pair
        for pair in itertools.combinations(affordable, 2)
        if sum(costs.get(name, 0.0) for name in pair) <= left and len(taken) + 2 <= goal.most_excluded
    ]
    single: list[tuple[str, ...]] = [(name,) for name in affordable]
    return "", [single, [*pairs]] if pairs else [single]


def _is_enough(found: Closeness, goal: Goal) -> bool:
    wanted = [
        (found.rank, goal.sqnr_db),
        (0.0 if found.agreement is None else found.agreement, goal.agreement),
    ]
    asked = [(value, target) for value, target in wanted if target is not None]
    return bool(asked) and all(value >= target for value, target in asked)
