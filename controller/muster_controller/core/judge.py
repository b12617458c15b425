"""Which constraints a configuration misses, by how much, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from muster_controller.core.bounds import Bound, BoundKind, resolve
from muster_controller.core.entities import Model
from muster_controller.core.figures import Figure
from muster_controller.core.policy_terms import QUALITY_METRICS, Constraint, Metric, Policy, Side
from muster_protos.metric_names import is_error_metric

_TOLERANCE = 1e-9  # 0.99 - 0.98 is 0.010000000000000009
_UNITS = {"ms": " ms", "mb": " MiB", "mj": " mJ"}


@dataclass(frozen=True, slots=True)
class Violation:
    """One constraint that does not hold."""

    constraint: Constraint
    relative: float  # how far beyond the bound; infinite when the figure is missing
    text: str

    @property
    def is_of_quality(self) -> bool:
        return self.constraint.metric in QUALITY_METRICS


def violations_of(
    figures: Mapping[Metric, Figure], baseline: Mapping[Metric, Figure], policy: Policy, model: Model
) -> tuple[Violation, ...]:
    """The constraints that ``figures`` do not meet, in the policy's order."""
    found = (_violation(item, figures[item.metric], baseline, model) for item in policy.constraints)
    return tuple(item for item in found if item is not None)


def shown(metric: Metric, value: float) -> str:
    """A figure for people: ``52.1 ms``, ``0.971``."""
    return f"{value:.4g}{_UNITS.get(metric.value.rpartition('_')[2], '')}"


def absolute_bound(bound: Bound, metric: Metric, baseline: Mapping[Metric, Figure], model: Model) -> float | None:
    """The bound in the metric's unit; None when it needs a baseline that was not measured."""
    reference = baseline.get(metric)
    is_error = metric is Metric.ACCURACY and model.is_labelled and is_error_metric(model.signature.metric)
    return resolve(bound, reference.value if reference else None, is_smaller_better=is_error)


def _violation(
    constraint: Constraint, figure: Figure, baseline: Mapping[Metric, Figure], model: Model
) -> Violation | None:
    metric, name = constraint.metric, constraint.metric.value
    if figure.value is None or figure.worst is None:
        return Violation(constraint, math.inf, f"{name} is unknown: {figure.reason}")
    bound = absolute_bound(constraint.bound, metric, baseline, model)
    if bound is None:
        return Violation(constraint, math.inf, f"{name} {constraint.bound} needs a figure of the uncompressed variant")
    judged = figure.worst if constraint.side is Side.MAX else figure.value
    excess = judged - bound if constraint.side is Side.MAX else bound - judged
    if _is_loss_of_error_metric(constraint, model):
        excess = judged - bound
    if excess <= _TOLERANCE * max(1.0, abs(bound)):
        return None
    relative = excess / abs(bound) if bound else excess
    upper = f" (upper bound {shown(metric, judged)})" if judged > figure.value else ""
    beyond = "over the max" if judged > bound else "under the min"
    written = "" if constraint.bound.kind is BoundKind.ABSOLUTE else f" ({constraint.bound})"
    text = f"{name} {shown(metric, figure.value)}{upper} is {beyond} of {shown(metric, bound)}{written}"
    return Violation(constraint, relative, text)


def _is_loss_of_error_metric(constraint: Constraint, model: Model) -> bool:
    """``accuracy: {min: -0.01}`` of an error metric means: at most 0.01 worse, that is larger."""
    return (
        constraint.metric is Metric.ACCURACY
        and constraint.side is Side.MIN
        and model.is_labelled
        and is_error_metric(model.signature.metric)
    )
