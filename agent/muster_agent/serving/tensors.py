"""Tensors of the Open Inference Protocol against a model's signature."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster_agent.serving.errors import RequestError
from muster_protos.model import Signature, TensorSpec

Array = NDArray[Any]

DATATYPES: Mapping[str, str] = {
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
_MAX_FREE_BYTES = 64 * 1024 * 1024
_JSON_BYTES_PER_ELEMENT = 32
_HEADER_BYTES = 64 * 1024


def datatype(spec: TensorSpec) -> str:
    """The protocol's name of a canonical dtype."""
    return DATATYPES[spec.dtype]


def max_request_bytes(signature: Signature) -> int:
    """The largest body that can be a request: as JSON text when all dimensions are fixed, 64 MiB when one is free."""
    elements = sum(math.prod(spec.shape) for spec in signature.inputs)
    if any(size < 0 for spec in signature.inputs for size in spec.shape):
        return _MAX_FREE_BYTES
    return min(_MAX_FREE_BYTES, elements * _JSON_BYTES_PER_ELEMENT + _HEADER_BYTES)


def check_tensor(signature: Signature, name: str, found_datatype: str, shape: Sequence[int]) -> TensorSpec:
    """The spec of input ``name`` when datatype and shape fit it.

    Raises:
        RequestError: they do not; the message names what was expected and what was found.
    """
    spec = next((spec for spec in signature.inputs if spec.name == name), None)
    if spec is None:
        known = ", ".join(spec.name for spec in signature.inputs)
        raise RequestError(f"expected the inputs {known}, found {name[:80]!r}")
    if found_datatype != datatype(spec):
        raise RequestError(f"input {name!r}: expected datatype {datatype(spec)}, found {found_datatype[:20]!r}")
    wanted = list(spec.shape)
    if len(shape) != len(wanted) or any(w >= 0 and s != w for s, w in zip(shape, wanted, strict=True)):
        raise RequestError(f"input {name!r}: expected shape {wanted}, found {list(shape)[:16]}")
    if any(size < 1 for size in shape):
        raise RequestError(f"input {name!r}: expected sizes of at least 1, found shape {list(shape)}")
    if math.prod(shape) * np.dtype(spec.dtype).itemsize > _MAX_FREE_BYTES:
        raise RequestError(f"input {name!r}: expected at most {_MAX_FREE_BYTES} bytes, found shape {list(shape)}")
    return spec


def from_bytes(spec: TensorSpec, shape: Sequence[int], raw: bytes | memoryview) -> Array:
    """A tensor from little-endian row-major bytes.

    Raises:
        RequestError: not as many bytes as the shape needs.
    """
    wanted = np.dtype(spec.dtype).newbyteorder("<")
    needed = math.prod(shape) * wanted.itemsize
    if len(raw) != needed:
        raise RequestError(f"input {spec.name!r}: expected {needed} bytes for shape {list(shape)}, found {len(raw)}")
    array: Array = np.frombuffer(raw, wanted).reshape(tuple(shape)).astype(spec.dtype, copy=False)
    return array


def from_numbers(spec: TensorSpec, shape: Sequence[int], numbers: object) -> Array:
    """A tensor from JSON numbers or typed protobuf contents, flat or nested.

    Raises:
        RequestError: no numbers, too few or too many, or some that the dtype cannot hold.
    """
    wanted = np.dtype(spec.dtype)
    try:
        found = np.asarray(numbers)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"input {spec.name!r}: the data is ragged or no number: {error}") from error
    if found.size != math.prod(shape):
        raise RequestError(f"input {spec.name!r}: expected {math.prod(shape)} values, found {found.size}")
    if found.dtype.kind not in ("b" if wanted.kind == "b" else "biu" if wanted.kind in "iu" else "biuf"):
        raise RequestError(f"input {spec.name!r}: expected {datatype(spec)} values, found {found.dtype.name}")
    if wanted.kind in "iu" and found.size:
        limits = np.iinfo(wanted)
        if int(found.min()) < limits.min or int(found.max()) > limits.max:
            raise RequestError(f"input {spec.name!r}: a value does not fit {datatype(spec)}")
    array: Array = found.astype(wanted).reshape(tuple(shape))
    return array


def check_complete(signature: Signature, feeds: Mapping[str, Array]) -> None:
    """Raise RequestError unless every input is there and named free dimensions agree."""
    missing = [spec.name for spec in signature.inputs if spec.name not in feeds]
    if missing:
        raise RequestError(
            f"expected the inputs {', '.join(s.name for s in signature.inputs)}; {missing[0]!r} is missing"
        )
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        for size, name, wanted in zip(feeds[spec.name].shape, spec.dim_names, spec.shape, strict=False):
            if wanted < 0 and name and sizes.setdefault(name, size) != size:
                raise RequestError(f"dimension {name!r} is {sizes[name]} in one input and {size} in {spec.name!r}")


def wanted_outputs(signature: Signature, names: Iterable[str]) -> tuple[str, ...]:
    """The outputs to answer with: those named, all when none is.

    Raises:
        RequestError: one is not the model's.
    """
    known = tuple(spec.name for spec in signature.outputs)
    asked = tuple(names)
    for name in asked:
        if name not in known:
            raise RequestError(f"expected outputs among {', '.join(known)}, found {name[:80]!r}")
    return asked or known
