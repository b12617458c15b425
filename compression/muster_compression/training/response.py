"""How far what one module answers is from what another answers to the same batch: the response loss of distillation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from muster_compression.task import TaskKind
from muster_compression.training.losses import as_logits, outputs_in_order

ToLogits: TypeAlias = Callable[[Tensor], Tensor]
"""(n, width) scores as a module gives them -> logits."""


def responses_apart(found: Sequence[Tensor], wanted: Sequence[Tensor], kind: TaskKind, temperature: float) -> Tensor:
    """``response_loss`` of the first outputs, and the mean squared error of each other output."""
    apart = response_loss(found[0], wanted[0], kind, temperature)
    for own, other in zip(found[1:], wanted[1:], strict=True):
        apart = apart + functional.mse_loss(own, other)
    return apart


def response_loss(student: Tensor, teacher: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """How far the answers are apart; (n, width), logits for classes.

    Classes: T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over the rows; the factor keeps the
    gradients at the scale of those of the labels (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
    Network", 2015). One score of a yes-or-no question: the same of the two Bernoulli distributions, which is a softmax
    over the score and 0. Values: mean squared error.
    """
    if kind == "regression":
        return functional.mse_loss(student, teacher)
    if kind == "binary":
        zeros = torch.zeros_like(student)
        student, teacher = torch.cat([student, zeros], 1), torch.cat([teacher, zeros], 1)
    wanted = functional.log_softmax(teacher / temperature, 1)
    found = functional.log_softmax(student / temperature, 1)
    return temperature**2 * functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


def student_responses(answer: object, kind: TaskKind) -> list[Tensor]:
    """The outputs of a module whose gradients are recorded: the first as (n, width), logits for classes."""
    first, *others = outputs_in_order(answer)
    scores = first.reshape(len(first), -1)
    return [scores if kind == "regression" else as_logits(scores), *others]


def teacher_responses(answer: object, to_logits: ToLogits) -> list[Tensor]:
    """The same of a module whose gradients are not; ``to_logits`` from ``way_to_logits``."""
    first, *others = outputs_in_order(answer)
    return [to_logits(first.reshape(len(first), -1)), *others]


def way_to_logits(module: nn.Module, inputs: tuple[Tensor, ...], kind: TaskKind) -> ToLogits:
    """What undoes a softmax or a sigmoid at the end; only recorded gradients tell whether there is one.

    ``inputs`` are a few rows. Values of a regression stay as they are.
    """
    if kind == "regression":
        return _as_they_are
    with torch.enable_grad():
        leaves = (tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in inputs)
        given = [leaf.clone() for leaf in leaves]  # a forward may write into what it is given
        first = outputs_in_order(module(*given))[0]
        scores = first.reshape(len(first), -1)
        found = as_logits(scores)
    if found is scores:
        return _as_they_are
    return _of_softmax if torch.equal(found, _of_softmax(scores)) else _of_sigmoid


def _as_they_are(scores: Tensor) -> Tensor:
    return scores


def _of_softmax(shares: Tensor) -> Tensor:
    return shares.clamp_min(1e-12).log()


def _of_sigmoid(shares: Tensor) -> Tensor:
    return torch.logit(shares, eps=1e-6)
