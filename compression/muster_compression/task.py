"""What a model is there for, as far as training and judging need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from muster_protos.metric_names import is_regression_metric
from muster_protos.model import Signature

TaskKind: TypeAlias = Literal["classification", "binary", "regression"]


@dataclass(frozen=True, slots=True)
class Task:
    """``binary`` is one score per sample for a label of 0 or 1 (metric auc)."""

    kind: TaskKind
    metric: str  # "accuracy", "auc", "mae", "mse", or a name that the user's own metric has; "" = no labels


def task_of(signature: Signature) -> Task:
    """The task that a signature states; several scores per sample without a stated task are classes."""
    if is_regression_metric(signature.metric) or signature.task == "regression":
        return Task("regression", signature.metric or "mae")
    if _width(signature) == 1:
        return Task("binary", signature.metric)
    if signature.task == "classification" or signature.metric in ("accuracy", "auc"):
        return Task("classification", signature.metric)
    return Task("regression", signature.metric)


def _width(signature: Signature) -> int:
    """Values per sample of the first output; free axes count as one."""
    width = 1
    for size in signature.outputs[0].shape[1:]:
        width *= max(size, 1)
    return width
