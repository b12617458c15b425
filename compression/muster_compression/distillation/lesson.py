"""The loss of a student: what the labels say and what a teacher says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from muster_compression.distillation.features import Taps
from muster_compression.distillation.teacher import Answers, Teacher
from muster_compression.task import TaskKind
from muster_compression.training.batches import Batch
from muster_compression.training.losses import Loss, as_logits, outputs_in_order


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part of the loss counts."""

    alpha: float  # the teacher's answers; 1 - alpha for the labels
    temperature: float
    features: float


class Lesson:
    """A ``Loss``. Batches carry the teacher's answers behind their inputs when they are remembered."""

    def __init__(
        self,
        teacher: Teacher,
        labels: Loss,
        kind: TaskKind,
        weights: Weights,
        layers: tuple[str, ...],
        projections: nn.ModuleList,
        inputs: int,
    ) -> None:
        self._teacher = teacher
        self._labels = labels
        self._kind: TaskKind = kind
        self._weights = weights
        self._taps = Taps(layers)
        self._projections = projections
        self._inputs = inputs

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        """(1 - alpha) labels + alpha answers + weight x features."""
        inputs, said = batch.inputs[: self._inputs], batch.inputs[self._inputs :]
        with self._taps.on(module):
            output = module(*inputs)
        own, others = self._split(output)
        answers = self._recalled(said, len(others)) if said else self._teacher.answers(inputs)
        weights = self._weights
        loss = (1 - weights.alpha) * self._labels(_Said(output), Batch(inputs, batch.labels))
        told = response_loss(own, answers.scores, self._kind, weights.temperature)
        for found, wanted in zip(others, answers.others, strict=True):
            told = told + functional.mse_loss(found, wanted)
        loss = loss + weights.alpha * told
        if self._taps.names:
            loss = loss + weights.features * self._features(answers)
        return loss

    def _split(self, output: object) -> tuple[Tensor, list[Tensor]]:
        first, *others = outputs_in_order(output)
        scores = first.reshape(len(first), -1)
        return scores if self._kind == "regression" else as_logits(scores), others

    def _recalled(self, said: tuple[Tensor, ...], others: int) -> Answers:
        return Answers(said[0], said[1 : 1 + others], said[1 + others :])

    def _features(self, answers: Answers) -> Tensor:
        """Mean over the pairs of the squared distance, in units of the teacher's own mean square."""
        pairs = zip(self._projections, self._taps.take(), answers.features, strict=True)
        losses = [
            functional.mse_loss(project(own), wanted) / wanted.square().mean().clamp_min(1e-12)
            for project, own, wanted in pairs
        ]
        return torch.stack(losses).mean()


class _Said(nn.Module):
    """Says again what was said: a task's loss then costs no second run."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self._output = output

    def forward(self, *inputs: Tensor) -> object:
        del inputs
        return self._output


def response_loss(student: Tensor, teacher: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """How far the answers are apart; (n, width), logits for classes.

    Classes: T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over the rows; the factor keeps the
    gradients at the scale of those of the labels (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
    Network", 2015). One score of a yes-or-no question: the same with two classes. Values: mean squared error.
    """
    if kind == "regression":
        return functional.mse_loss(student, teacher)
    if kind == "binary":
        zeros = torch.zeros_like(student)
        student, teacher = torch.cat([student, zeros], 1), torch.cat([teacher, zeros], 1)
    wanted = functional.log_softmax(teacher / temperature, 1)
    found = functional.log_softmax(student / temperature, 1)
    return temperature**2 * functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
