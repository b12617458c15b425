"""Samples to train on, and samples to compare on meanwhile, apart from those that judge."""

from __future__ import annotations

import numpy as np

from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.splits import DataSet, Split
from muster_compression.task import task_of
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature

_HOLDOUT_SHARE = 0.1
_LARGEST_HOLDOUT = 2000
_FEWEST_ROWS = 5


def training_splits(data: DataSet, signature: Signature, seed: int) -> tuple[Split | None, Split | None]:
    """Training samples and holdout in canonical tensors; (None, None) without labelled training samples.

    Where a test set judges, the validation set is the holdout; else a seeded tenth of the training samples is (at
    most 2,000), and nothing trains on it. The import and every recipe split by the seed of the import: a module that
    the import trained must not have seen what a recipe holds out.

    Raises:
        InvalidInputError: samples that do not fit the model, labels that it has no class for, or fewer than 5 samples.
    """
    if data.train is None or data.train.labels is None:
        return None, None
    train = fit_samples(data.train, signature, data.name)
    _check_labels(train, signature, data.name)
    if len(train) < _FEWEST_ROWS:
        raise InvalidInputError(
            f"{data.name}: expected at least {_FEWEST_ROWS} labelled training samples, found {len(train)}; add more as "
            "x_train,y_train"
        )
    if data.test is not None and data.validation is not None and data.validation.labels is not None:
        return train, fit_samples(data.validation, signature, data.name)
    order = np.random.default_rng(seed).permutation(len(train))
    held = min(_LARGEST_HOLDOUT, max(1, round(_HOLDOUT_SHARE * len(train))))
    return train.take(np.sort(order[held:])), train.take(np.sort(order[:held]))


def held_out(data: DataSet, signature: Signature, seed: int) -> Split | None:
    """The holdout alone, also where nothing trains; None where there are no labelled samples but those that judge.

    Raises:
        InvalidInputError: as ``training_splits``.
    """
    if data.test is not None and data.validation is not None and data.validation.labels is not None:
        return fit_samples(data.validation, signature, data.name)
    return training_splits(data, signature, seed)[1] if is_enough_to_train(data) else None


def is_enough_to_train(data: DataSet) -> bool:
    """Whether ``training_splits`` can give training samples."""
    return data.train is not None and data.train.labels is not None and len(data.train) >= _FEWEST_ROWS


def _check_labels(train: Split, signature: Signature, name: str) -> None:
    """Of classes that the model has."""
    assert train.labels is not None
    if task_of(signature).kind != "classification":
        return
    if train.labels.dtype.kind not in "iub":
        raise InvalidInputError(f"{name}: expected whole numbers as y_train (classes), found {train.labels.dtype}")
    classes = max(2, int(np.prod([size for size in signature.outputs[0].shape if size > 0])))
    lowest, highest = int(train.labels.min()), int(train.labels.max())
    if lowest < 0 or highest >= classes:
        raise InvalidInputError(
            f"{name}: expected y_train of 0 to {classes - 1} as the model has {classes} classes, "
            f"found {lowest} to {highest}"
        )
