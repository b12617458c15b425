"""Samples in an npz file: arrays of canonical tensors joined along axis 0, never pickled.

Evaluation: ``x_<input>``, optional ``y`` (one label per row), optional ``ref_<output>``. Golden: ``in_<input>``,
``out_<output>``. One query takes as many rows as the tensor's first dimension says, one when it is free.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muster_bench.runtimes.port import Array
from muster_protos.errors import InvalidInputError
from muster_protos.model import TensorSpec

_MAX_UNPACKED_BYTES = 2 << 30  # a zip bomb stays packed


def load_arrays(path: Path) -> dict[str, Array]:
    """Every array of the file.

    Raises:
        InvalidInputError: it is no npz of plain arrays, or would unpack to more than 2 GiB.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked_bytes = sum(item.file_size for item in packed.infolist())
        if unpacked_bytes > _MAX_UNPACKED_BYTES:
            raise InvalidInputError(f"{path.name} would unpack to {unpacked_bytes} bytes; at most 2 GiB are taken")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise InvalidInputError(f"expected an npz file of plain arrays, found {path.name}: {error}") from error


def columns(arrays: dict[str, Array], prefix: str, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """The arrays ``<prefix><name>`` by tensor name.

    Raises:
        InvalidInputError: one is missing.
    """
    missing = [prefix + spec.name for spec in specs if prefix + spec.name not in arrays]
    if missing:
        raise InvalidInputError(f"expected the arrays {', '.join(missing)}, found {', '.join(arrays) or 'none'}")
    return {spec.name: arrays[prefix + spec.name] for spec in specs}


def split(columns_by_name: dict[str, Array], specs: Sequence[TensorSpec]) -> list[dict[str, Array]]:
    """One dict of canonical tensors per query, as views.

    Raises:
        InvalidInputError: dtypes, shapes or counts do not fit the specs.
    """
    parts = {spec.name: _parts(columns_by_name[spec.name], spec) for spec in specs}
    counts = {len(items) for items in parts.values()}
    if len(counts) != 1 or 0 in counts:
        raise InvalidInputError(
            f"expected equally many samples for every tensor and at least 1, found {sorted(counts)}"
        )
    return [{name: items[i] for name, items in parts.items()} for i in range(counts.pop())]


def _parts(array: Array, spec: TensorSpec) -> list[Array]:
    if array.dtype != np.dtype(spec.dtype):
        raise InvalidInputError(f"expected {spec.name!r} as {spec.dtype}, found {array.dtype}")
    if not spec.shape:
        return [array[i] if array.ndim else array for i in range(len(array) if array.ndim else 1)]
    rows = spec.shape[0] if spec.shape[0] > 0 else 1
    fits = array.ndim == len(spec.shape) and all(
        wanted < 0 or wanted == found for wanted, found in zip(spec.shape[1:], array.shape[1:], strict=False)
    )
    if not fits or len(array) % rows:
        raise InvalidInputError(
            f"expected {spec.name!r} as samples of shape {list(spec.shape)} joined along axis 0, "
            f"found shape {list(array.shape)}"
        )
    return [array[i : i + rows] for i in range(0, len(array), rows)]
