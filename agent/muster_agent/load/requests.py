"""Requests as ready-made bytes: Open Inference Protocol v2 over HTTP/1.1 with binary tensors.

Built once before the load starts, so that sending costs a write and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster_protos.errors import InvalidInputError

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
MAX_DISTINCT = 64


def load_samples(path: Path, ranks: dict[str, int], limit: int = MAX_DISTINCT) -> list[dict[str, NDArray[Any]]]:
    """At most ``limit`` requests' worth of inputs from a golden (``in_``) or evaluation (``x_``) npz.

    Args:
        path: the npz; its arrays are stacked samples, one per row.
        ranks: number of dimensions of every canonical input.

    Raises:
        InvalidInputError: no such file, or it lacks one of the inputs.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: _column(archive, name, path) for name in ranks}
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"expected an npz with model inputs, found {path}: {error}") from error
    rows = min(limit, *(len(column) for column in columns.values()))
    return [
        {
            name: column[row] if column.ndim == ranks[name] + 1 else column[row : row + 1]
            for name, column in columns.items()
        }
        for row in range(rows)
    ]


def _column(archive: Any, name: str, path: Path) -> NDArray[Any]:
    for key in (f"in_{name}", f"x_{name}"):
        if key in archive:
            column: NDArray[Any] = archive[key]
            return column
    raise InvalidInputError(f"expected input {name!r} in {path}, found {', '.join(archive)}")


def http_request(model_id: str, host: str, inputs: dict[str, NDArray[Any]], outputs: Sequence[str]) -> bytes:
    """One POST to ``/v2/models/<model>/infer``, tensors and answer in binary."""
    bodies = [np.ascontiguousarray(array).tobytes() for array in inputs.values()]
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": _DATATYPES[array.dtype.name],
                    "parameters": {"binary_data_size": len(body)},
                }
                for (name, array), body in zip(inputs.items(), bodies, strict=True)
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
        },
        separators=(",", ":"),
    ).encode()
    length = len(header) + sum(map(len, bodies))
    head = (
        f"POST /v2/models/{model_id}/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
    return b"".join((head, header, *bodies))
