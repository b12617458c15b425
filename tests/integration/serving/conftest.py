"""A model of two rungs, made here: a wide and a narrow network of matrix products behind one signature."""

from __future__ import annotations

import hashlib
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_agent.serving_process import LocalListener, Peer, ServingProcess
from muster_bench.face import identity_binding
from muster_bench.runtimes import open_session
from muster_protos.codec import encode
from muster_protos.model import (
    ArtifactRef,
    Configuration,
    Event,
    Format,
    LocalFailed,
    LocalGrant,
    LocalReady,
    LocalStatus,
    LocalVariant,
    Rung,
    ServingGrant,
    Signature,
    Slo,
    TensorSpec,
    VariantManifest,
)

INPUT = TensorSpec("x", "float32", (-1, 64), ("batch", ""))
OUTPUT = TensorSpec("y", "float32", (-1, 4), ("batch", ""))
SIGNATURE = Signature((INPUT,), (OUTPUT,), task="classification")


def write_model(path: Path, width: int, seed: int, repeats: int = 1) -> None:
    """x (n, 64) -> width -> width, ``repeats`` times with the same weights, -> y (n, 4)."""
    source = np.random.default_rng(seed)
    shapes = ((64, width), (width, width), (width, 4))
    weights = [
        numpy_helper.from_array((source.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), f"w{index}")
        for index, shape in enumerate(shapes)
    ]
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["a"]), helper.make_node("Relu", ["a"], ["h0"])]
    for index in range(repeats):
        nodes.append(helper.make_node("MatMul", [f"h{index}", "w1"], [f"m{index}"]))
        nodes.append(helper.make_node("Relu", [f"m{index}"], [f"h{index + 1}"]))
    nodes.append(helper.make_node("MatMul", [f"h{repeats}", "w2"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def make_variant(
    folder: Path, name: str, width: int, seed: int = 1, golden_shift: float = 0.0, repeats: int = 1
) -> LocalVariant:
    """An artifact with goldens; a shift makes them wrong."""
    path, golden_path = folder / f"{name}.onnx", folder / f"{name}.golden.npz"
    write_model(path, width, seed, repeats)
    session = open_session(path, Format.ONNX, "onnxruntime", "cpu", 1)
    binding = identity_binding(SIGNATURE, session.inputs, session.outputs)
    x = np.random.default_rng(7).standard_normal((8, 64)).astype(np.float32)
    y = np.concatenate([session.run({"x": row[None]})["y"] for row in x])
    np.savez(golden_path, in_x=x, out_y=y + np.float32(golden_shift))
    session.close()
    manifest = VariantManifest(
        variant_id=f"net.v1.{name}",
        model_id="net",
        model_version=1,
        name=name,
        artifact=ArtifactRef(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size),
        format=Format.ONNX,
        signature=SIGNATURE,
        binding=binding,
        golden_max_abs_error=1e-3,
    )
    return LocalVariant(manifest, str(path), str(golden_path))


def rung_of(variant: LocalVariant, p50_ms: float) -> Rung:
    configuration = Configuration(variant.manifest.variant_id, "onnxruntime", "cpu", 1)
    return Rung(configuration, round(p50_ms * 1e6), round(p50_ms * 1.2e6), 0.9)


def grant_of(
    *variants: LocalVariant, deployment_id: str = "d1", p50_ms: tuple[float, ...] = (4.0, 1.0), slo_ms: float = 1000
) -> LocalGrant:
    ladder = tuple(rung_of(variant, ms) for variant, ms in zip(variants, p50_ms, strict=False))
    serving = ServingGrant(deployment_id, ladder, Slo(round(slo_ms * 1e6), 95.0))
    return LocalGrant(serving, "net", SIGNATURE, variants)


@dataclass
class RecordingSink:
    """What serving processes said, and a way to wait for it."""

    said: list[object] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def _note(self, peer: Peer, message: object) -> None:
        with self.changed:
            self.said.append(message)
            self.peers.append(peer)
            self.changed.notify_all()

    def on_ready(self, peer: Peer, ready: LocalReady) -> None:
        self._note(peer, ready)

    def on_failed(self, peer: Peer, failed: LocalFailed) -> None:
        self._note(peer, failed)

    def on_status(self, peer: Peer, status: LocalStatus) -> None:
        self._note(peer, status)

    def on_event(self, peer: Peer, event: Event) -> None:
        self._note(peer, event)

    def on_exit(self, peer: Peer, reason: str) -> None:
        self._note(peer, reason)

    def wait_for(self, is_it: Callable[[object], bool], timeout_s: float = 30) -> object:
        """The first message that is it, now or later."""
        deadline_s = time.monotonic() + timeout_s
        with self.changed:
            while True:
                for message in self.said:
                    if is_it(message):
                        return message
                assert self.changed.wait(max(0.0, deadline_s - time.monotonic())), f"never came; came: {self.said}"


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def listener(tmp_path: Path, sink: RecordingSink) -> Iterator[LocalListener]:
    listening = LocalListener(tmp_path / "serving.sock", sink)
    listening.start()
    yield listening
    listening.close()


@pytest.fixture
def wide(tmp_path: Path) -> LocalVariant:
    return make_variant(tmp_path, "wide", 512)


@pytest.fixture
def narrow(tmp_path: Path) -> LocalVariant:
    return make_variant(tmp_path, "narrow", 64)


@pytest.fixture
def serving(listener: LocalListener, wide: LocalVariant, narrow: LocalVariant) -> Iterator[ServingProcess]:
    """A serving child with both rungs granted; the benchmarked times are generous, so nothing falls back by itself."""
    process = ServingProcess(listener, "net")
    process.start()
    process.grant(grant_of(wide, narrow, p50_ms=(4.0, 1.0)))
    yield process
    process.stop("the test is over")


@pytest.fixture
def ready(serving: ServingProcess, sink: RecordingSink) -> LocalReady:
    answer = sink.wait_for(lambda message: isinstance(message, LocalReady | LocalFailed | str))
    assert isinstance(answer, LocalReady), answer
    return answer


@pytest.fixture
def replacement(narrow: LocalVariant) -> LocalGrant:
    """Another deployment, with the narrow variant alone."""
    return grant_of(narrow, deployment_id="d2", p50_ms=(1.0,))


@pytest.fixture
def small_grant(narrow: LocalVariant) -> LocalGrant:
    return grant_of(narrow, p50_ms=(1.0,))


@pytest.fixture
def spoiled(tmp_path: Path, narrow: LocalVariant) -> LocalGrant:
    """A deployment whose best variant does not answer as its goldens say."""
    wrong = make_variant(tmp_path, "spoiled", 96, golden_shift=0.5)
    return grant_of(wrong, narrow, deployment_id="d3")


@pytest.fixture
def agent_script(tmp_path: Path, small_grant: LocalGrant) -> Path:
    """A stand-in for an agent that can be killed: it serves ``small_grant``, prints ``<pid> <port>`` and waits."""
    grant_path, script = tmp_path / "grant.bin", tmp_path / "agent.py"
    grant_path.write_bytes(encode(small_grant))
    script.write_text(
        textwrap.dedent(f"""
        import pathlib, sys, threading
        from muster_agent.serving_process import LocalListener, ServingProcess
        from muster_protos.codec import decode
        from muster_protos.model import LocalGrant

        class Sink:
            def on_ready(self, peer, ready):
                print(peer.pid, ready.http_port, flush=True)
            on_failed = on_status = on_event = on_exit = lambda self, peer, message: None

        listener = LocalListener(pathlib.Path(sys.argv[1]) / "serving.sock", Sink())
        listener.start()
        process = ServingProcess(listener, "net")
        process.grant(decode(LocalGrant, pathlib.Path({str(grant_path)!r}).read_bytes()))
        process.start()
        threading.Event().wait()
        """)
    )
    return script


@pytest.fixture
def two_rungs(wide: LocalVariant, narrow: LocalVariant) -> LocalGrant:
    return grant_of(wide, narrow)


@pytest.fixture
def three_rungs(wide: LocalVariant, narrow: LocalVariant, tmp_path: Path) -> LocalGrant:
    return grant_of(wide, make_variant(tmp_path, "middle", 128), narrow, p50_ms=(4.0, 2.0, 1.0))


@pytest.fixture
def measured_grant(tmp_path: Path) -> tuple[LocalGrant, float]:
    """Two rungs timed here, and the slowdown that makes the larger one take 25 ms."""
    variants = (make_variant(tmp_path, "wide", 512, repeats=400), make_variant(tmp_path, "narrow", 512, repeats=40))
    slowdown = 25.0 / _median_ms(variants[0])
    p50_ms = (25.0, max(1.0, slowdown * _median_ms(variants[1])))
    return grant_of(*variants, deployment_id="measured", p50_ms=p50_ms, slo_ms=90), slowdown


def _median_ms(variant: LocalVariant) -> float:
    session = open_session(Path(variant.path), Format.ONNX, "onnxruntime", "cpu", 1)
    x, times = np.zeros((1, 64), np.float32), []
    for _ in range(60):
        started_s = time.perf_counter()
        session.run({"x": x})
        times.append(time.perf_counter() - started_s)
    session.close()
    return sorted(times)[30] * 1e3
