"""The data set of one model in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster_protos.errors import InvalidInputError

Array: TypeAlias = NDArray[np.generic]

ONLY_INPUT = ""
"""Stands for the only input of a model whose input the data do not name."""


@dataclass(frozen=True, slots=True)
class Split:
    """Samples of one purpose. Arrays have the sample axis first; labels are class indices or target values."""

    inputs: dict[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: NDArray[np.intp]) -> Split:
        """The samples at ``indices``, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Split({name: values[indices] for name, values in self.inputs.items()}, labels)

    def sample(self, count: int, seed: int) -> Split:
        """At most ``count`` samples, drawn without replacement, in their original order."""
        if len(self) <= count:
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size=count, replace=False)
        return self.take(np.sort(chosen))


@dataclass(frozen=True, slots=True)
class DataSet:
    """What one npz file, or one built-in set, holds."""

    name: str
    train: Split | None = None
    validation: Split | None = None
    test: Split | None = None

    def judging(self) -> Split:
        """The samples that judge variants: test, else validation.

        Raises:
            InvalidInputError: there is only training data; a model must not be judged on it.
        """
        split = self.test or self.validation
        if split is None:
            raise InvalidInputError(
                f"{self.name}: expected samples to judge the model by (x_val and y_val, or x and y), found only "
                "training samples; hold some of them back as x_val,y_val"
            )
        return split
