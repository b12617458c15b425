"""Parsing and writing infer bodies, JSON and binary."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from muster_agent.serving.errors import InferenceError, RequestError
from muster_agent.serving.http_body import format_response, parse_request
from muster_agent.serving.protocol import ModelFace
from muster_agent.serving.tensors import max_request_bytes
from muster_protos.model import Signature, TensorSpec

FACE = ModelFace(
    "net",
    "1",
    "onnxruntime_cpu",
    Signature(
        (TensorSpec("x", "float32", (-1, 3), ("batch", "")), TensorSpec("k", "int8", (-1,), ("batch",))),
        (TensorSpec("y", "float32", (-1, 2)), TensorSpec("n", "int64", (-1,))),
    ),
)


def tensor(name: str, datatype: str, array: Any, **more: Any) -> dict[str, Any]:
    found = np.asarray(array)
    return {"name": name, "datatype": datatype, "shape": list(found.shape), "data": found.tolist(), **more}


def body(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


X, K = tensor("x", "FP32", [[1.0, 2.0, 3.0]]), tensor("k", "INT8", [4])


def test_json_tensors_nested_or_flat_are_the_same() -> None:
    nested = parse_request(FACE, body(X, K), None)
    flat = parse_request(FACE, body({**X, "data": [1, 2, 3]}, K), None)
    np.testing.assert_array_equal(nested.feeds["x"], flat.feeds["x"])
    assert nested.feeds["x"].dtype == np.float32
    assert nested.feeds["k"].dtype == np.int8
    assert nested.outputs == ("y", "n")


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(width=32)))
def test_binary_tensors_arrive_bit_by_bit(x: Any) -> None:
    k = np.zeros(len(x), np.int8)
    raw = [x.tobytes(), k.tobytes()]
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": list(x.shape),
                    "parameters": {"binary_data_size": len(raw[0])},
                },
                {
                    "name": "k",
                    "datatype": "INT8",
                    "shape": list(k.shape),
                    "parameters": {"binary_data_size": len(raw[1])},
                },
            ]
        }
    ).encode()
    request = parse_request(FACE, header + b"".join(raw), str(len(header)))
    assert request.feeds["x"].tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 100_000, "JSON object"),
        (b"[]", "JSON object, found list"),
        (body(X), "'k' is missing"),
        (body(X, X), "once"),
        (body(X, {**K, "name": 5}), "with its name"),
        (body({**X, "datatype": "FP64"}, K), "expected datatype FP32, found 'FP64'"),
        (body({**X, "shape": [1, 4]}, K), "expected shape [-1, 3], found [1, 4]"),
        (body({**X, "shape": [0, 3], "data": []}, K), "at least 1"),
        (body({**X, "shape": [1, -3]}, K), "expected shape"),
        (body({**X, "shape": [True, 3]}, K), "list of integers"),
        (body({**X, "shape": [2**62, 3]}, K), "at most"),
        (body({**X, "shape": "13"}, K), "list of integers"),
        (body({**X, "data": [1, 2]}, K), "expected 3 values, found 2"),
        (body({**X, "data": [[1, 2], [3]]}, K), "ragged"),
        (body({**X, "data": ["a", "b", "c"]}, K), "expected FP32 values"),
        (body(X, {**K, "data": [1.5]}), "expected INT8 values"),
        (body(X, {**K, "data": [300]}), "does not fit INT8"),
        (body(X, {**K, "data": [2**70]}), "expected INT8 values"),
        (body(X, tensor("k", "INT8", [4, 5])), "dimension 'batch' is 1 in one input and 2 in 'k'"),
        (body({**X, "data": None}, K), "expected 3 values"),
        (body({k: v for k, v in X.items() if k != "data"}, K), "expected data, or binary_data_size"),
        (body({**X, "parameters": {"binary_data_size": 12}}, K), "12 bytes behind the header, found 0"),
        (body({**X, "parameters": {"shared_memory_region": "r"}}, K), "shared memory"),
        (body({**X, "parameters": []}, K), "parameters as an object"),
        (body(X, K, outputs=[{"name": "z"}]), "outputs among y, n"),
        (body(X, K, outputs=[{"name": "y", "parameters": {"classification": 3}}]), "classification is not supported"),
        (body(X, K, id=7), "id as a string"),
    ],
)
def test_a_bad_body_is_named_in_one_line(text: bytes, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(FACE, text, None)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", ["-1", "99999", "x", "", "١"])
def test_a_bad_header_length_is_refused(length: str) -> None:
    with pytest.raises(RequestError, match="Inference-Header-Content-Length"):
        parse_request(FACE, body(X, K), length)


def test_bytes_behind_the_last_tensor_are_refused() -> None:
    header = body(X, K)
    with pytest.raises(RequestError, match="found 5 more"):
        parse_request(FACE, header + b"12345", str(len(header)))


@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=5)))
def test_random_bytes_are_refused_and_nothing_else(text: bytes, length: str | None) -> None:
    with pytest.raises(RequestError):
        parse_request(FACE, text, length)


OUTPUTS = {"y": np.array([[1.5, -2.0]], np.float32), "n": np.array([7])}


def test_json_answers_carry_numbers_and_the_variant() -> None:
    request = parse_request(FACE, body(X, K, id="a"), None)
    payload, header_length = format_response(FACE, request, OUTPUTS, "net.v1.fp32")
    assert header_length is None
    answer = json.loads(payload)
    assert answer["id"] == "a"
    assert answer["parameters"] == {"muster_variant": "net.v1.fp32"}
    assert answer["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}


def test_binary_answers_follow_the_header_in_order() -> None:
    asked = [{"name": "n", "parameters": {"binary_data": True}}, {"name": "y", "parameters": {"binary_data": True}}]
    request = parse_request(FACE, body(X, K, outputs=asked), None)
    payload, header_length = format_response(FACE, request, OUTPUTS, "v")
    assert header_length is not None
    assert [o["parameters"]["binary_data_size"] for o in json.loads(payload[:header_length])["outputs"]] == [8, 8]
    assert payload[header_length:] == OUTPUTS["n"].tobytes() + OUTPUTS["y"].tobytes()


def test_an_answer_that_json_cannot_carry_is_an_error_and_not_a_lie() -> None:
    request = parse_request(FACE, body(X, K), None)
    with pytest.raises(InferenceError, match="ask for binary"):
        format_response(FACE, request, {**OUTPUTS, "y": np.array([[np.nan, 0]], np.float32)}, "v")


def test_a_fixed_signature_limits_the_body_to_what_it_can_need() -> None:
    small = Signature((TensorSpec("x", "float32", (1, 1000)),), ())
    assert max_request_bytes(small) == 32_000 + 65_536
    assert max_request_bytes(FACE.signature) == 64 * 1024 * 1024
