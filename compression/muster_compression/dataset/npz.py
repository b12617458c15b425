"""Read ``data.npz``.

Keys, for a model with one input: ``x_train,y_train``, ``x_val,y_val``, ``x_test,y_test``; or ``x,y``.
For named inputs: ``x_<input>,y``, or ``x_<split>_<input>,y_<split>``. Labels are optional everywhere.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from muster_compression.dataset.splits import ONLY_INPUT, Array, DataSet, Split
from muster_protos.errors import InvalidInputError, NotFoundError

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_FEWEST_SAMPLES = 4


def load_npz(path: Path) -> DataSet:
    """Read and check ``path``; nothing in it is unpickled.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not an npz, holds objects, NaN, arrays of unequal length or no samples at all.
    """
    return data_set(_read(path), path.name)


def data_set(arrays: Mapping[str, Array], name: str) -> DataSet:
    """The splits that the arrays hold, by the keys above; ``name`` is for messages.

    Raises:
        InvalidInputError: they hold objects, NaN, arrays of unequal length or no samples at all.
    """
    splits: dict[str, Split] = {}
    for short, long in _SPLITS.items():
        inputs = _inputs_of_split(arrays, short)
        if inputs:
            splits[long] = _checked(name, inputs, arrays.get(f"y_{short}"), short)
    if "validation" not in splits:
        inputs = _inputs_without_split(arrays)
        if inputs:
            splits["validation"] = _checked(name, inputs, arrays.get("y"), "x")
    if not splits:
        raise InvalidInputError(
            f"{name}: expected arrays x_val (and y_val), x (and y) or x_<input>, found {sorted(arrays) or 'none'}"
        )
    return DataSet(name, **splits)


def _read(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise NotFoundError(f"no data file {path}; expected an .npz, file.py:function or builtin:digits")
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInputError(f"{path.name}: expected an .npz archive, found a single array; use numpy.savez")
            with archive:
                return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InvalidInputError(
            f"{path.name}: expected an .npz of plain arrays, found something that does not load ({error})"
        ) from error


def _inputs_of_split(arrays: Mapping[str, Array], split: str) -> dict[str, Array]:
    if f"x_{split}" in arrays:
        return {ONLY_INPUT: arrays[f"x_{split}"]}
    prefix = f"x_{split}_"
    return {name[len(prefix) :]: values for name, values in arrays.items() if name.startswith(prefix)}


def _inputs_without_split(arrays: Mapping[str, Array]) -> dict[str, Array]:
    if "x" in arrays:
        return {ONLY_INPUT: arrays["x"]}
    taken = tuple(f"x_{split}" for split in _SPLITS)
    return {name[2:]: values for name, values in arrays.items() if name.startswith("x_") and not name.startswith(taken)}


def _checked(source: str, inputs: dict[str, Array], labels: Array | None, what: str) -> Split:
    lengths = {name: len(values) if values.ndim else 0 for name, values in inputs.items()}
    if len(set(lengths.values())) != 1:
        raise InvalidInputError(f"{source}: expected as many samples of each input in {what}, found {lengths}")
    count = next(iter(lengths.values()))
    if count < _FEWEST_SAMPLES:
        raise InvalidInputError(f"{source}: expected at least {_FEWEST_SAMPLES} samples in {what}, found {count}")
    if labels is not None and (labels.ndim == 0 or len(labels) != count):
        found = len(labels) if labels.ndim else "a single value"
        raise InvalidInputError(f"{source}: expected {count} labels for {what}, found {found}")
    if labels is not None and labels.dtype.kind not in "fiub":
        raise InvalidInputError(f"{source}: expected labels of {what} that are numbers, found {labels.dtype}")
    for name, values in [*inputs.items(), ("labels", labels)]:
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InvalidInputError(f"{source}: expected finite values, found NaN or infinity in {what} {name}")
    return Split(inputs, labels)
