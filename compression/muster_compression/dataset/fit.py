"""Bring samples into the canonical tensors of a signature."""

from __future__ import annotations

import math

import numpy as np

from muster_compression.dataset.splits import ONLY_INPUT, Array, Split
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature, TensorSpec

_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def fit_samples(split: Split, signature: Signature, name: str) -> Split:
    """The same samples by canonical name, in canonical dtype and layout, joined along axis 0.

    Channels move when only that makes the shapes equal; a missing or extra axis of length 1 is bridged. Integers
    become floats of the same value: scaling is the model's own affair.

    Raises:
        InvalidInputError: an input has no data, or its shape cannot fit.
    """
    given = dict(split.inputs)
    if ONLY_INPUT in given:
        if len(signature.inputs) != 1:
            wanted = ", ".join(f"x_{spec.name}" for spec in signature.inputs)
            raise InvalidInputError(f"{name}: the model has {len(signature.inputs)} inputs; expected arrays {wanted}")
        given = {signature.inputs[0].name: given[ONLY_INPUT]}
    elif len(given) == 1 == len(signature.inputs):
        given = {signature.inputs[0].name: next(iter(given.values()))}
    missing = [f"x_{spec.name}" for spec in signature.inputs if spec.name not in given]
    if missing:
        found = ", ".join(f"x_{key}" for key in given)
        raise InvalidInputError(f"{name}: expected arrays {', '.join(missing)} too, found only {found}")
    return Split({spec.name: _fit(given[spec.name], spec, name) for spec in signature.inputs}, split.labels)


def _fit(values: Array, spec: TensorSpec, name: str) -> Array:
    rows = max(spec.shape[0], 1) if spec.shape else 1
    if rows != 1:
        raise InvalidInputError(
            f"{name}: the model takes batches of {rows}; samples can be matched to models with batch 1 or a free batch"
        )
    if values.dtype.kind not in "fiub":
        raise InvalidInputError(f"{name}: expected numbers for {spec.name!r}, found {values.dtype}")
    wanted = spec.shape[1:]
    shaped = _reshaped(values, wanted)
    if shaped is None:
        raise InvalidInputError(
            f"{name}: expected samples of shape {list(wanted)} for {spec.name!r}, found {list(values.shape[1:])}"
        )
    return np.ascontiguousarray(shaped.astype(np.dtype(spec.dtype), copy=False))


def _reshaped(values: Array, wanted: tuple[int, ...]) -> Array | None:
    if _is_alike(wanted, values.shape[1:]):
        return values
    if values.ndim == len(_CHANNELS_FIRST):
        for axes in (_CHANNELS_FIRST, _CHANNELS_LAST):
            moved = values.transpose(axes)
            if _is_alike(wanted, moved.shape[1:]):
                return moved
    is_fixed = all(size > 0 for size in wanted)
    if is_fixed and [s for s in wanted if s != 1] == [s for s in values.shape[1:] if s != 1]:
        assert math.prod(wanted) == math.prod(values.shape[1:])
        return values.reshape(len(values), *wanted)
    return None


def _is_alike(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    return len(wanted) == len(found) and all(a == b or a < 0 for a, b in zip(wanted, found, strict=True))
