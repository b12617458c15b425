"""The loss that a task asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from muster_compression.task import TaskKind
from muster_compression.training.batches import Batch
from muster_compression.training.settings import FitSettings

Loss: TypeAlias = Callable[[nn.Module, Batch], Tensor]
"""A scalar to be minimised, from a module in training mode and one batch."""

_RESHAPING = ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias", "Select", "Slice", "Transpose", "Permute", "Clone")
_TINY = 1e-12


def task_loss(kind: TaskKind, settings: FitSettings) -> Loss:
    """Cross entropy for classes, binary cross entropy for one score of a yes-or-no label, else mean squared error.

    A module that ends in a softmax or a sigmoid is trained on the logarithm of what it says, any other on its logits.
    Only the first output is trained.
    """
    smoothing = settings.label_smoothing

    def loss(module: nn.Module, batch: Batch) -> Tensor:
        first = outputs_in_order(module(*batch.inputs))[0]
        scores = first.reshape(len(batch.labels), -1)
        match kind:
            case "classification":
                return functional.cross_entropy(as_logits(scores), batch.labels, label_smoothing=smoothing)
            case "binary":
                return functional.binary_cross_entropy_with_logits(as_logits(scores)[:, 0], batch.labels)
            case "regression":
                wanted = batch.labels.reshape(len(batch.labels), -1)
                return functional.mse_loss(scores, wanted.expand_as(scores))

    return loss


def outputs_in_order(answer: Any) -> list[Tensor]:
    """The tensors of a module's answer in the order in which an export lists them."""
    if isinstance(answer, Tensor):
        return [answer]
    values = answer.values() if isinstance(answer, Mapping) else answer
    return [tensor for value in values for tensor in outputs_in_order(value)]


def as_logits(scores: Tensor) -> Tensor:
    """(n, classes) logits; probabilities of a softmax or sigmoid are turned back into them.

    The autograd graph says what the last operation was; without one, rows that sum to 1 are taken as probabilities.
    """
    match _last_operation(scores):
        case "Softmax":
            return scores.clamp_min(_TINY).log()
        case "Sigmoid":
            return torch.logit(scores, eps=1e-6)
        case "" if scores.shape[1] > 1 and _sums_to_one(scores):
            return scores.clamp_min(_TINY).log()
        case _:
            return scores


def chance_loss(labels: Tensor, kind: TaskKind) -> float:
    """What a model that always says the most likely thing would lose."""
    match kind:
        case "classification":
            return math.log(max(2, int(labels.max()) + 1))
        case "binary":
            return math.log(2)
        case "regression":
            return float(labels.var(correction=0))


def _last_operation(scores: Tensor) -> str:
    """Name of the operation that made ``scores``, reshaping aside; "" when no gradient is recorded."""
    step = scores.grad_fn
    while step is not None:
        name = step.name().removesuffix("Backward0").removesuffix("Backward1")
        if not any(part in name for part in _RESHAPING):
            return name
        step = step.next_functions[0][0]
    return ""


def _sums_to_one(scores: Tensor) -> bool:
    is_share = bool((scores >= 0).all())
    return is_share and torch.allclose(scores.sum(1), torch.ones(len(scores)), atol=1e-3)
