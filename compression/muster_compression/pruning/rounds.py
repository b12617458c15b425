"""Training in rounds: some epochs after each step of pruning, the rest after the last; the control trains the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from muster_compression.dataset.splits import Split
from muster_compression.part_of import OnProgress, part_of
from muster_compression.passes.port import PassContext
from muster_compression.training.fit import fit
from muster_compression.training.losses import Loss
from muster_compression.training.settings import FitSettings


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long each round is; a round of 0 epochs trains nothing."""

    fit: FitSettings | None
    steps: int
    step_epochs: int

    def epochs(self, step: int) -> int:
        """Of the round after ``step`` (from 1)."""
        if self.fit is None:
            return 0
        return self.fit.epochs if step == self.steps else self.step_epochs

    def share_before(self, step: int) -> float:
        """Of all epochs, what has passed before the round after ``step``."""
        total = sum(self.epochs(one) for one in range(1, self.steps + 1))
        return sum(self.epochs(one) for one in range(1, step)) / max(1, total)


@dataclass(frozen=True, slots=True)
class Trainer:
    """What stays the same over the rounds of one module."""

    name: str
    rounds: Rounds
    samples: Split | None  # only None when nothing is trained
    context: PassContext
    loss: Loss | None  # None = the task's own
    report: OnProgress

    def train(self, module: nn.Module, step: int, after_step: Callable[[int], None] | None = None) -> None:
        """The round after ``step``, in place.

        Raises:
            PassError: see ``training.fit.fit``.
        """
        epochs, settings = self.rounds.epochs(step), self.rounds.fit
        if settings is None or self.samples is None or epochs == 0:
            return
        start = self.rounds.share_before(step)
        fit(
            module,
            self.samples,
            settings.model_copy(update={"epochs": epochs}),
            self.context,
            name=f"{self.name}-{step}",
            loss=self.loss,
            after_step=after_step,
            on_progress=part_of(self.report, start, self.rounds.share_before(step + 1) - start),
        )

    def train_all(self, module: nn.Module) -> None:
        """Every round: the control."""
        for step in range(1, self.rounds.steps + 1):
            self.train(module, step)
