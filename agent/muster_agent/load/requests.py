"""Requests as ready-made bytes: Open Inference Protocol v2 over HTTP/1.1 with binary tensors.

Built once before the load starts, so that sending costs a write and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster_bench.dataset import columns, load_arrays, split
from muster_protos.model import TensorSpec

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
_DTYPES = {datatype: dtype for dtype, datatype in _DATATYPES.items()}
MAX_DISTINCT = 64


def specs_of(tensors: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """The inputs or outputs of a model's metadata as the protocol describes them."""
    return tuple(TensorSpec(t["name"], _DTYPES[t["datatype"]], tuple(t["shape"])) for t in tensors)


def load_samples(path: Path, specs: Sequence[TensorSpec], limit: int = MAX_DISTINCT) -> list[dict[str, NDArray[Any]]]:
    """At most ``limit`` requests' worth of inputs from a golden (``in_``) or evaluation (``x_``) npz.

    Raises:
        InvalidInputError: no such file, it lacks one of the inputs, or they do not fit.
    """
    arrays = load_arrays(path)
    prefix = "in_" if any(name.startswith("in_") for name in arrays) else "x_"
    return split(columns(arrays, prefix, specs), specs)[:limit]


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
