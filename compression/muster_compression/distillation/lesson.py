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
from muster_compression.training.losses import Loss
from muster_compression.training.response import responses_apart, student_responses


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
        weights = self._weights
        loss = (1 - weights.alpha) * self._labels(_Said(output), Batch(inputs, batch.labels))
        if weights.alpha == 0 and not self._taps.names:
            return loss  # nobody listens to the teacher, so it is not asked
        own = student_responses(output, self._kind)
        answers = self._recalled(said, len(own) - 1) if said else self._teacher.answers(inputs)
        told = responses_apart(own, (answers.scores, *answers.others), self._kind, weights.temperature)
        loss = loss + weights.alpha * told
        if self._taps.names:
            loss = loss + weights.features * self._features(answers)
        return loss

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
