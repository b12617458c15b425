"""What a model is there for, as far as training and judging need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from muster_compression.dataset.splits import Array
from muster_protos.metric_names import is_regression_metric, is_user_metric
from muster_protos.model import Signature

TaskKind: TypeAlias = Literal["classification", "binary", "regression"]


@dataclass(frozen=True, slots=True)
class Task:
    """``binary`` is one score per sample for a label of 0 or 1."""

    kind: TaskKind
    metric: str  # "accuracy", "auc", "mae", "mse", or a name that the user's own metric has; "" = no labels


_STAND_INS: dict[TaskKind, str] = {"classification": "accuracy", "binary": "auc", "regression": "mae"}


def task_of(signature: Signature, labels: Array | None = None) -> Task:
    """The task that a signature states, by its metric or its task.

    Where it states none (a metric of the user's own says nothing about it), the labels decide: one score per sample is
    a yes-or-no question only when they are whole numbers of 0 and 1, several are classes only when the labels are
    whole numbers that name one of them; else, and without labels, the outputs are values.
    """
    if is_regression_metric(signature.metric) or signature.task == "regression":
        return Task("regression", signature.metric or "mae")
    width = _width(signature)
    states = signature.task == "classification" or signature.metric in ("accuracy", "auc")
    if states or _are_classes(labels, max(2, width)):
        return Task("binary" if width == 1 else "classification", signature.metric)
    return Task("regression", signature.metric)


def stand_in_metric(signature: Signature, labels: Array | None) -> str:
    """The signature's metric; for one of the user's, which only the gate computes, the usual one of the task."""
    if not is_user_metric(signature.metric):
        return signature.metric
    return _STAND_INS[task_of(signature, labels).kind]


def _are_classes(labels: Array | None, count: int) -> bool:
    """Whole numbers of 0 to ``count`` - 1."""
    if labels is None or labels.dtype.kind not in "iub" or labels.size == 0:
        return False
    plain = labels.astype(np.int64)
    return bool(plain.min() >= 0 and plain.max() < count)


def _width(signature: Signature) -> int:
    """Values per sample of the first output; free axes count as one."""
    width = 1
    for size in signature.outputs[0].shape[1:]:
        width *= max(size, 1)
    return width
