"""Samples as tensors, in an order that follows from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muster_compression.dataset.splits import Array, Split
from muster_compression.passes.port import PassError
from muster_compression.task import TaskKind

_FEWEST = 2
"""Batch normalisation cannot train on a single row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of every input in the module's order of arguments, and their labels."""

    inputs: tuple[Tensor, ...]
    labels: Tensor  # classification: int64 (n,); binary: float32 (n,); regression: float32 (n, ...)


def tensors_of(samples: Split, kind: TaskKind, name: str) -> Batch:
    """All samples as one batch.

    Raises:
        PassError: no labels, too few samples, or one class only.
    """
    if samples.labels is None:
        raise PassError(f"{name}: expected labels for the training samples, found none; add y_train to the data")
    if len(samples) < _FEWEST:
        raise PassError(f"{name}: expected at least {_FEWEST} training samples, found {len(samples)}")
    labels = samples.labels
    if kind != "regression" and len(np.unique(labels)) < _FEWEST:
        raise PassError(f"{name}: expected training labels of at least 2 classes, found only {labels[0]}")
    inputs = tuple(tensor_of(values) for values in samples.inputs.values())
    return Batch(inputs, _labels(labels, kind))


def tensor_of(values: Array) -> Tensor:
    """A copy-free tensor where numpy allows it."""
    plain = np.ascontiguousarray(values)
    return torch.from_numpy(plain if plain.flags.writeable else plain.copy())


def shuffled(everything: Batch, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """The batches of one epoch; the last incomplete one is left out unless it is the only one."""
    order = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(len(everything.labels)))
    for start in range(0, steps_per_epoch(len(order), batch_size) * batch_size, batch_size):
        rows = order[start : start + batch_size]
        yield Batch(tuple(tensor[rows] for tensor in everything.inputs), everything.labels[rows])


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Complete batches, at least one."""
    return max(1, count // batch_size)


def _labels(labels: Array, kind: TaskKind) -> Tensor:
    match kind:
        case "classification":
            return torch.from_numpy(labels.reshape(-1).astype(np.int64))
        case "binary":
            return torch.from_numpy(labels.reshape(-1).astype(np.float32))
        case "regression":
            return torch.from_numpy(labels.astype(np.float32))
