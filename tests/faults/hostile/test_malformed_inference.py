"""Malformed requests at a serving child that runs: the Open Inference Protocol over HTTP and gRPC. It serves on.

MUSTER_FUZZ=<count> is how many, MUSTER_FUZZ_SEED=<number> which.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import math
import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_agent.adapters.serving_local import LocalServing
from muster_agent.serving_process import ServingOptions
from muster_bench.face import identity_binding
from muster_bench.runtimes import open_session
from muster_protos.inference import open_inference_pb2 as pb
from muster_protos.model import (
    ArtifactRef,
    Configuration,
    Event,
    Format,
    LocalGrant,
    LocalReady,
    LocalVariant,
    Rung,
    ServingGrant,
    Signature,
    Slo,
    TensorSpec,
    VariantManifest,
)

LONG = int(os.environ.get("MUSTER_FUZZ", "20000"))
SEED = int(os.environ.get("MUSTER_FUZZ_SEED", "1"))
TOO_LONG_S = 30.0
MORE_MEMORY_KIB = 200 << 10
MIB = 1024 * 1024
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (-1, 64), ("batch", "")),),
    (TensorSpec("y", "float32", (-1, 4), ("batch", "")),),
    task="classification",
)
INFER = "/v2/models/net/infer"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


class Sink:
    """What the child said about itself."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def serving_ended(self, model_id: str, reason: str) -> None:
        self.ended.append(f"{model_id}: {reason}")

    def serving_changed(self, model_id: str, ready: LocalReady) -> None: ...
    def serving_event(self, model_id: str, event: Event) -> None: ...


class Child:
    """A serving child with one small model."""

    def __init__(self, folder: Path) -> None:
        self.sink = Sink()
        weights = np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
            [numpy_helper.from_array(weights, "w")],
        )
        path = folder / "net.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        session = open_session(path, Format.ONNX, "onnxruntime", "cpu", 1)
        binding = identity_binding(SIGNATURE, session.inputs, session.outputs)
        session.close()
        self.x = np.random.default_rng(7).standard_normal((2, 64)).astype(np.float32)
        self.y = self.x @ weights
        np.savez(folder / "golden.npz", in_x=self.x, out_y=self.y)
        ref = ArtifactRef(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        manifest = VariantManifest(
            "net.v1.fp32", "net", 1, "fp32", artifact=ref, format=Format.ONNX, signature=SIGNATURE, binding=binding,
            golden_max_abs_error=1e-3,
        )  # fmt: skip
        variant = LocalVariant(manifest, str(path), str(folder / "golden.npz"))
        rung = Rung(Configuration("net.v1.fp32", "onnxruntime", "cpu", 1), 4_000_000, 5_000_000, 0.9)
        grant = LocalGrant(ServingGrant("d1", (rung,), Slo(10**9, 95.0)), "net", SIGNATURE, (variant,))
        self._serving = LocalServing(folder / "serving.sock", ServingOptions())
        self._serving.start(self.sink)
        self.ready = self._serving.serve(grant, 60.0)

    @property
    def pid(self) -> int:
        """Of the process that serves now."""
        return next(iter(self._serving._processes.values())).pid

    def memory_kib(self) -> int:
        line = next(line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmRSS" in line)
        return int(line.split()[1])

    def answers(self) -> None:
        """A good request gets the good answer, over both transports."""
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 64], "data": self.x.reshape(-1).tolist()}]}
        connection = http.client.HTTPConnection("127.0.0.1", self.ready.http_port, timeout=TOO_LONG_S)
        connection.request("POST", INFER, json.dumps(body))
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        assert answer.status == 200, found
        np.testing.assert_allclose(np.reshape(found["outputs"][0]["data"], (2, 4)), self.y, atol=1e-4)
        request = pb.ModelInferRequest(model_name="net", raw_input_contents=[self.x.tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=[2, 64])
        with grpc.insecure_channel(f"127.0.0.1:{self.ready.grpc_port}") as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
            )
            outcome = infer(request.SerializeToString(), timeout=TOO_LONG_S)
        y = np.frombuffer(outcome.raw_output_contents[0], np.float32).reshape(2, 4)
        np.testing.assert_allclose(y, self.y, atol=1e-4)

    def close(self) -> None:
        self._serving.close("the test is over")


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(tmp_path)
    yield made
    made.close()


ODD = (None, True, -1, 0, 2**31, 2**63, 2**70, 1e300, "", "x" * 300, "\0", "FP32", "BYTES", [], {}, [[]], [1, 64])


def tensor(draw: random.Random) -> Any:
    made: Any = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}
    for _ in range(draw.randint(0, 3)):
        match draw.randrange(4):
            case 0:
                made[draw.choice(("name", "datatype", "shape", "data", "parameters"))] = draw.choice(ODD)
            case 1:
                made.pop(draw.choice(("name", "datatype", "shape", "data", "parameters")), None)
            case 2:
                made["shape"] = [draw.choice((-1, 0, 1, 64, 2**31, 2**62)) for _ in range(draw.randint(0, 9))]
            case _:
                made["parameters"] = {"binary_data_size": draw.choice(ODD), "shared_memory_region": "r"}
    return made


def http_request(draw: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    body: Any = {"inputs": [tensor(draw) for _ in range(draw.choice((0, 1, 1, 1, 2, 50)))]}
    for key in ("id", "outputs", "parameters", "inputs"):
        if draw.random() < 0.1:
            body[key] = draw.choice(ODD)
    content, headers = json.dumps(body).encode(), dict[str, str]()
    match draw.randrange(8):
        case 0:
            content = content[: draw.randrange(len(content) + 1)]
        case 1:
            content = draw.choice((b"[" * 50_000, b"1" * 6_000, b"\xff\xfe", b"NaN", b'"\\ud800"', b"{}" * 3, b""))
        case 2:
            headers["Inference-Header-Content-Length"] = draw.choice(
                ("0", "-1", "7", "x", "9" * 500, str(len(content)))
            )
            content += draw.randbytes(draw.randint(0, 300))
        case 3:
            headers["Content-Encoding"] = draw.choice(("gzip", "deflate", "br", "x"))
    path = draw.choice((INFER, INFER, INFER, "/v2/models/net/versions/1/infer", "/v2/models/other/infer", "/v2/%00"))
    method = draw.choice((*("POST",) * 12, "GET", "PUT", "DELETE", "HEAD"))
    return method, path, content, headers


def talk_http(child: Child, draw: random.Random, count: int) -> Counter[str]:
    told: Counter[str] = Counter()

    def dial() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", child.ready.http_port, timeout=TOO_LONG_S)

    connection = dial()
    for _ in range(count):
        method, path, body, headers = http_request(draw)
        told["http messages"] += 1
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            told[f"http {answer.status}"] += 1
            if answer.status >= 500 and answer.status != 503:
                told[f"crash: {method} {path} {body[:300]!r}"] += 1
        except (ConnectionError, http.client.HTTPException):
            told["http cut"] += 1
            connection.close()
            connection = dial()
    connection.close()
    return told


def infer_seeds() -> list[bytes]:
    raw = pb.ModelInferRequest(model_name="net", id="7", raw_input_contents=[bytes(256)])
    raw.inputs.add(name="x", datatype="FP32", shape=[1, 64])
    typed = pb.ModelInferRequest(model_name="net")
    made = typed.inputs.add(name="x", datatype="FP32", shape=[1, 64])
    made.contents.fp32_contents.extend([math.nan, math.inf] * 32)
    typed.outputs.add(name="y")
    return [raw.SerializeToString(), typed.SerializeToString()]


def talk_grpc(child: Child, draw: random.Random, count: int, spoilt: Callable[..., bytes]) -> Counter[str]:
    told, seeds = Counter[str](), infer_seeds()
    methods = ("ModelInfer", "ModelInfer", "ModelInfer", "ModelMetadata", "ModelReady", "ServerLive", "Nowhere")
    with grpc.insecure_channel(f"127.0.0.1:{child.ready.grpc_port}") as channel:
        for _ in range(count):
            method = draw.choice(methods)
            try:
                channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(
                    spoilt(draw, seeds), timeout=TOO_LONG_S
                )
                told["grpc OK"] += 1
            except grpc.RpcError as error:
                code = error.code()  # type: ignore[attr-defined]
                told[f"grpc {code.name}"] += 1
                if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
                    told[f"crash: grpc {method} {error.details()[:300]}"] += 1  # type: ignore[attr-defined]
    told["grpc messages"] = count
    return told


def talk_nonsense(child: Child, draw: random.Random, count: int) -> Counter[str]:
    """Bytes that are neither, requests that lie about their length, and bodies without end."""
    told: Counter[str] = Counter()
    for _ in range(count):
        port = draw.choice((child.ready.http_port, child.ready.grpc_port))
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5.0) as stream:
            match draw.randrange(4):
                case 0:
                    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + draw.randbytes(200))
                case 1:
                    length = draw.choice((b"-1", b"9" * 30, b"x", b"1099511627776"))
                    stream.sendall(
                        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n{" % (INFER.encode(), length)
                    )
                case 2:
                    size = struct.pack(">I", 2**31)
                    stream.sendall(
                        b"POST %b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" % INFER.encode() + size
                    )
                case _:
                    stream.sendall(draw.randbytes(draw.randint(1, 2_000)))
        told["raw messages"] += 1
    return told


def test_no_malformed_request_ends_or_stops_a_serving_child(
    child: Child, spoilt: Callable[[random.Random, Sequence[bytes]], bytes]
) -> None:
    draw, started_s = random.Random(SEED), time.monotonic()
    child.answers()
    before_kib, pid = child.memory_kib(), child.pid
    told = talk_http(child, draw, LONG * 5 // 10)
    child.answers()
    told += talk_grpc(child, draw, LONG * 4 // 10, spoilt)
    told += talk_nonsense(child, draw, LONG // 10)
    child.answers()
    total = sum(number for name, number in told.items() if name.endswith(" messages"))
    crashes = [name for name in told if name.startswith("crash")] + child.sink.ended
    print(f"\n{total} malformed requests in {time.monotonic() - started_s:.0f} s (seed {SEED}), {len(crashes)} crashes")
    for name, number in sorted(told.items()):
        print(f"  {number:6d}  {name[:200]}")
    assert crashes == []
    assert child.pid == pid
    assert told["http 400"] > total / 10
    assert told["grpc INVALID_ARGUMENT"] > total / 20
    assert total >= LONG - 3  # halves and tenths are rounded
    assert child.memory_kib() - before_kib < MORE_MEMORY_KIB
