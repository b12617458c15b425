"""Infer requests and responses over HTTP: JSON tensors and the binary tensor data extension.

With the extension a body is a JSON header of ``Inference-Header-Content-Length`` bytes, then the raw tensors in the
order in which the header names them (https://github.com/kserve/open-inference-protocol, extension_binary_data).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from muster_agent.serving.errors import InferenceError, RequestError
from muster_agent.serving.protocol import VARIANT_PARAMETER, ModelFace
from muster_agent.serving.tensors import (
    DATATYPES,
    Array,
    check_complete,
    check_tensor,
    from_bytes,
    from_numbers,
    wanted_outputs,
)

_MAX_DIMENSIONS = 32


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed request."""

    request_id: str
    feeds: Mapping[str, Array]
    outputs: tuple[str, ...]
    binary_outputs: frozenset[str]


def parse_request(face: ModelFace, body: bytes, header_length: str | None) -> InferRequest:
    """Parse and check a body against the model's signature.

    Args:
        header_length: the ``Inference-Header-Content-Length`` header, None when there is none.

    Raises:
        RequestError: what is wrong with it, in one line.
    """
    header_bytes = _header_bytes(header_length, len(body))
    header = _json(body[:header_bytes])
    tensors = _objects(header, "inputs")
    tail = memoryview(body)[header_bytes:]
    feeds: dict[str, Array] = {}
    for tensor in tensors:
        name = tensor.get("name")
        if not isinstance(name, str) or name in feeds:
            raise RequestError(f"expected every input once with its name, found {str(name)[:80]!r}")
        feeds[name], tail = _tensor(face, name, tensor, tail)
    if len(tail):
        raise RequestError(f"expected as many bytes as the inputs name, found {len(tail)} more")
    check_complete(face.signature, feeds)
    asked = _objects(header, "outputs") if "outputs" in header else []
    outputs = wanted_outputs(face.signature, [str(item.get("name")) for item in asked])
    request_id = header.get("id", "")
    if not isinstance(request_id, str):
        raise RequestError("expected the id as a string")
    return InferRequest(request_id, feeds, outputs, _binary_outputs(header, asked, outputs))


def format_response(
    face: ModelFace, request: InferRequest, outputs: Mapping[str, Array], variant_id: str
) -> tuple[bytes, int | None]:
    """The body, and its JSON header's length when it carries binary tensors.

    Raises:
        InferenceError: an output that JSON cannot carry (NaN, infinity).
    """
    described, raw = [], []
    for name in request.outputs:
        array = np.ascontiguousarray(outputs[name])
        item: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
        if name in request.binary_outputs:
            raw.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            item["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            item["data"] = array.reshape(-1).tolist()
        described.append(item)
    header: dict[str, Any] = {"model_name": face.name, "model_version": face.version}
    if request.request_id:
        header["id"] = request.request_id
    header |= {"parameters": {VARIANT_PARAMETER: variant_id}, "outputs": described}
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise InferenceError(
            f"{variant_id} answered NaN or infinity, which JSON cannot carry; ask for binary"
        ) from error
    return (b"".join((text, *raw)), len(text)) if raw else (text, None)


def _header_bytes(header_length: str | None, body_bytes: int) -> int:
    if header_length is None:
        return body_bytes
    is_number = header_length.isascii() and header_length.isdigit() and len(header_length) < 20
    if not is_number or int(header_length) > body_bytes:
        raise RequestError(
            f"expected an Inference-Header-Content-Length of at most {body_bytes}, found {header_length[:20]!r}"
        )
    return int(header_length)


def _json(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"expected a JSON object, found something else: {error}") from error
    if not isinstance(header, dict):
        raise RequestError(f"expected a JSON object, found {type(header).__name__}")
    return header


def _objects(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = holder.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise RequestError(f"expected {key!r} as a list of objects")
    return found


def _tensor(face: ModelFace, name: str, tensor: dict[str, Any], tail: memoryview) -> tuple[Array, memoryview]:
    shape = tensor.get("shape")
    is_list = isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS
    if not is_list or not all(type(size) is int for size in shape or ()):
        raise RequestError(f"input {name!r}: expected a shape as a list of integers, found {str(shape)[:80]}")
    spec = check_tensor(face.signature, name, str(tensor.get("datatype")), shape or [])
    parameters = _parameters(tensor)
    if "shared_memory_region" in parameters:
        raise RequestError(f"input {name!r}: shared memory is not supported; send the bytes")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise RequestError(f"input {name!r}: expected data, or binary_data_size and the bytes behind the header")
        return from_numbers(spec, shape or [], tensor["data"]), tail
    if type(size) is not int or not 0 <= size <= len(tail):
        raise RequestError(f"input {name!r}: expected {str(size)[:20]} bytes behind the header, found {len(tail)}")
    return from_bytes(spec, shape or [], tail[:size]), tail[size:]


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    found = holder.get("parameters", {})
    if not isinstance(found, dict):
        raise RequestError("expected parameters as an object")
    return found


def _binary_outputs(header: dict[str, Any], asked: list[dict[str, Any]], outputs: tuple[str, ...]) -> frozenset[str]:
    by_default = bool(_parameters(header).get("binary_data_output", False))
    chosen = {str(item.get("name")): _parameters(item) for item in asked}
    for name, parameters in chosen.items():
        for unknown in ("classification", "shared_memory_region"):
            if unknown in parameters:
                raise RequestError(f"output {name!r}: {unknown} is not supported")
    return frozenset(name for name in outputs if bool(chosen.get(name, {}).get("binary_data", by_default)))
