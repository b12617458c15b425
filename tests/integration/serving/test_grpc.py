"""The gRPC transport with our own stubs: typed contents, status codes, what must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from muster_protos.inference import open_inference_pb2 as pb
from muster_protos.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from muster_protos.model import LocalReady, LocalVariant


@pytest.fixture
def stub(ready: LocalReady) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{ready.grpc_port}") as channel:
        yield GRPCInferenceServiceStub(channel)


def request_of(x: Any, *, typed: bool = False, **more: Any) -> Any:
    request = pb.ModelInferRequest(model_name="net", **more)
    tensor = request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    if typed:
        tensor.contents.fp32_contents.extend(x.reshape(-1).tolist())
    else:
        request.raw_input_contents.append(x.tobytes())
    return request


@pytest.mark.parametrize("typed", [False, True])
def test_raw_and_typed_contents_give_the_golden_outputs(stub: Any, wide: LocalVariant, typed: bool) -> None:
    golden = np.load(wide.golden_path)
    answer = stub.ModelInfer(request_of(golden["in_x"][:2], typed=typed, id="7", model_version="1"), timeout=10)
    assert (answer.id, answer.model_version) == ("7", "1")
    assert answer.parameters["muster_variant"].string_param == "net.v1.wide"
    y = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(tuple(answer.outputs[0].shape))
    np.testing.assert_allclose(y, golden["out_y"][:2], atol=1e-4)


def test_health_and_metadata(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="net"), timeout=5).ready
    assert "binary_tensor_data" in stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5).extensions
    described = stub.ModelMetadata(pb.ModelMetadataRequest(name="net"), timeout=5)
    assert [(t.name, t.datatype, list(t.shape)) for t in described.inputs] == [("x", "FP32", [-1, 64])]


X = np.zeros((1, 64), np.float32)


def spoiled(change: str) -> Any:
    request = request_of(X)
    match change:
        case "model":
            request.model_name = "other"
        case "version":
            request.model_version = "9"
        case "bytes":
            request.raw_input_contents[0] = b"123"
        case "both":
            request.inputs[0].contents.fp32_contents.append(1.0)
        case "twice":
            request.inputs.add(name="x", datatype="FP32", shape=[1, 64])
            request.raw_input_contents.append(X.tobytes())
        case "none":
            del request.inputs[:]
            del request.raw_input_contents[:]
        case "output":
            request.outputs.add(name="z")
    return request


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("model", grpc.StatusCode.NOT_FOUND, "expected the model net"),
        ("version", grpc.StatusCode.NOT_FOUND, "expected version 1"),
        ("bytes", grpc.StatusCode.INVALID_ARGUMENT, "expected 256 bytes"),
        ("both", grpc.StatusCode.INVALID_ARGUMENT, "found both"),
        ("twice", grpc.StatusCode.INVALID_ARGUMENT, "twice"),
        ("none", grpc.StatusCode.INVALID_ARGUMENT, "'x' is missing"),
        ("output", grpc.StatusCode.INVALID_ARGUMENT, "outputs among y"),
    ],
)
def test_bad_requests_get_the_protocols_status_and_one_line(
    stub: Any, change: str, code: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(spoiled(change), timeout=10)
    assert caught.value.code() == code
    assert words in caught.value.details()
