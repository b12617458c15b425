"""Notice that a training leads nowhere, before it has cost its whole time."""

from __future__ import annotations

import math
from collections import deque

from muster_compression.passes.port import PassError

_WINDOW_STEPS = 10
_TIMES = 10.0


class DivergedError(PassError):
    """The loss is not finite, or far above where it began."""


class LossWatch:
    """Compares the mean of the last steps with the first one, or with guessing when that is more.

    ``chance`` is the loss of a model that only guesses: a model that starts nearly perfect may well rise from 0.001 to
    0.1 without being lost.
    """

    def __init__(self, name: str, chance: float, first: float | None = None) -> None:
        self._name = name
        self._chance = chance
        self._recent: deque[float] = deque(maxlen=_WINDOW_STEPS)
        self.first = first  # loss of the first step; None before it

    def add(self, loss: float, epoch: int) -> None:
        """One step's loss.

        Raises:
            DivergedError: see the class.
        """
        way_out = "a lower learning_rate may help"
        if not math.isfinite(loss):
            raise DivergedError(f"{self._name} diverged in epoch {epoch}: its loss is {loss}; {way_out}")
        self._recent.append(loss)
        self.first = loss if self.first is None else self.first
        mean = sum(self._recent) / len(self._recent)
        if len(self._recent) == _WINDOW_STEPS and mean > _TIMES * max(self.first, self._chance):
            raise DivergedError(
                f"{self._name} diverged in epoch {epoch}: its loss rose from {self.first:.3g} to {mean:.3g}; {way_out}"
            )
