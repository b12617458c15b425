"""Data from a user's own function: ``data.py:make`` returns what an npz would hold, as a dict of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from muster_compression.dataset.npz import data_set
from muster_compression.dataset.splits import Array, DataSet
from muster_compression.sources.user_code import load_function, users_code
from muster_protos.errors import InvalidInputError


def load_factory(path: Path, function: str) -> DataSet:
    """Call the function; only ever in a child process.

    Raises:
        NotFoundError: there is no such file or function.
        InvalidInputError: it fails, or returns something else than arrays by name (see ``npz``).
    """
    name = f"{path.name}:{function}"
    make = load_function(path, function)
    with users_code(name):
        made = make()
    if not isinstance(made, Mapping):
        raise InvalidInputError(f"{name}: expected a dict of arrays such as x_val and y_val, found {_kind(made)}")
    return data_set({str(key): _array(value, str(key), name) for key, value in made.items()}, name)


def _array(value: object, key: str, name: str) -> Array:
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"{name}: expected {key!r} as an array, found {_kind(value)} ({error})") from error
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"{name}: expected {key!r} as an array of numbers, found {array.dtype}")
    return array


def _kind(value: object) -> str:
    return type(value).__name__
