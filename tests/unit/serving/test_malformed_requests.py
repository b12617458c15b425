"""Inference requests of any shape, over both transports: a request or a RequestError, nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_agent.serving.errors import RequestError
from muster_agent.serving.grpc_service import parse_inputs
from muster_agent.serving.http_body import parse_request
from muster_agent.serving.protocol import ModelFace
from muster_protos.inference import open_inference_pb2 as pb
from muster_protos.model import Signature, TensorSpec

FACE = ModelFace(
    "net",
    "1",
    "onnxruntime_cpu",
    Signature(
        (TensorSpec("x", "float32", (-1, 4), ("n", "")), TensorSpec("k", "int8", (2,))),
        (TensorSpec("y", "float32", (-1, 2), ("n", "")),),
    ),
)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none())
JSON = st.recursive(st.one_of(NUMBERS, st.text(max_size=8)), lambda inner: st.lists(inner, max_size=4), max_leaves=12)
SHAPES = st.one_of(JSON, st.lists(st.integers(-2, 2**66), max_size=40), st.just([1, 4]), st.just([2]))
TENSOR = st.fixed_dictionaries(
    {"name": st.one_of(st.sampled_from(["x", "k"]), JSON)},
    optional={
        "datatype": st.one_of(st.sampled_from(["FP32", "INT8", "BYTES"]), JSON),
        "shape": SHAPES,
        "data": JSON,
        "parameters": st.one_of(
            JSON, st.dictionaries(st.sampled_from(["binary_data_size", "shared_memory_region"]), JSON, max_size=2)
        ),
    },
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.one_of(JSON, st.lists(TENSOR, max_size=3))},
    optional={"id": JSON, "outputs": st.one_of(JSON, st.lists(TENSOR, max_size=2)), "parameters": JSON},
)
LENGTHS = st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["0", "7", "9" * 5_000, "-1", "\u00b2"]))


@settings(max_examples=400, deadline=None)
@given(REQUEST, LENGTHS, st.binary(max_size=24))
def test_any_json_is_a_request_or_a_request_error(body: Any, length: str | None, tail: bytes) -> None:
    text = json.dumps(body).encode()
    for content, header in ((text, length), (text + tail, str(len(text))), (text + tail, None)):
        with np.errstate(over="ignore"):
            try:
                found = parse_request(FACE, content, header)
            except RequestError:
                continue
        assert set(found.feeds) == {"x", "k"}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), LENGTHS)
def test_any_bytes_are_a_request_or_a_request_error(body: bytes, length: str | None) -> None:
    with pytest.raises(RequestError):
        parse_request(FACE, body, length)


def test_json_without_end_is_refused() -> None:
    for body in (
        b"[" * 1_000_000,
        b'{"inputs":' * 100_000,
        b"1" * 100_000,
        b'{"inputs": [{"name": "x", "shape": [1e999]}]}',
    ):
        with pytest.raises(RequestError):
            parse_request(FACE, body, None)


GRPC_TENSOR = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["x", "k", "", "\u202e"]),
    datatype=st.sampled_from(["FP32", "INT8", "FP16", "BYTES", ""]),
    shape=st.one_of(st.just([1, 4]), st.just([2]), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)),
    contents=st.one_of(
        st.none(),
        st.builds(
            pb.InferTensorContents,
            fp32_contents=st.lists(st.floats(width=32), max_size=5),
            int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
        ),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(GRPC_TENSOR, max_size=3), st.lists(st.binary(max_size=20), max_size=3))
def test_any_grpc_request_is_one_or_a_request_error(tensors: list[Any], raw: list[bytes]) -> None:
    try:
        feeds = parse_inputs(FACE, pb.ModelInferRequest(inputs=tensors, raw_input_contents=raw))
    except RequestError:
        return
    assert set(feeds) == {"x", "k"}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_grpc_bytes_are_a_request_or_refused(content: bytes) -> None:
    try:
        parse_inputs(FACE, pb.ModelInferRequest.FromString(content))
    except (RequestError, DecodeError):
        return
