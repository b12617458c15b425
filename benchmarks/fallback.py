"""The same load twice against a served model: on the largest rung alone, and with the ladder below it.

    python benchmarks/fallback.py                     # two convolutional networks made here, measured, served
    python benchmarks/fallback.py --profile pi -o json

Claim: where a burst asks for more than the largest rung can answer, the fallback run misses the objective in less
than 1 % of the requests (late, refused and failed ones count), the largest rung alone in 5 % or more. Both runs refuse
what cannot be in time. ``--profile`` emulates a device class (CPU quota by control group where allowed, otherwise a
declared slowdown), ``--slowdown`` declares one; either is named in the output.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from muster_agent.load_process import LoadSpec, run_load
from muster_agent.serving_process import LocalListener, Peer, ServingOptions, ServingProcess
from muster_bench.face import identity_binding
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark
from muster_bench.runtimes import open_session
from muster_devices.emulation import Emulator, start_emulation
from muster_devices.profiles import load_profile
from muster_protos.model import (
    BenchmarkRequest,
    Configuration,
    Emulation,
    Event,
    Format,
    LoadPhase,
    LoadRequest,
    LoadResult,
    LocalFailed,
    LocalGrant,
    LocalReady,
    LocalStatus,
    LocalVariant,
    Rung,
    Scenario,
    ServingGrant,
    Signature,
    Slo,
    TensorSpec,
    Tier,
    VariantManifest,
)

SIGNATURE = Signature((TensorSpec("x", "float32", (1, 1, 48, 48)),), (TensorSpec("y", "float32", (1, 10)),))
WIDTHS = {"wide": 80, "narrow": 24}  # channels of three convolutions


@dataclass
class Sink:
    """Collects what the serving child says."""

    answers: queue.SimpleQueue[LocalReady | LocalFailed | str] = field(default_factory=queue.SimpleQueue)
    events: list[Event] = field(default_factory=list)

    def on_ready(self, _: Peer, ready: LocalReady) -> None:
        self.answers.put(ready)

    def on_failed(self, _: Peer, failed: LocalFailed) -> None:
        self.answers.put(failed)

    def on_status(self, _: Peer, status: LocalStatus) -> None:
        pass

    def on_event(self, _: Peer, event: Event) -> None:
        self.events.append(event)

    def on_exit(self, _: Peer, reason: str) -> None:
        self.answers.put(reason)


def make_variant(folder: Path, name: str) -> LocalVariant:
    """x (1, 1, 48, 48) -> three 3x3 convolutions -> mean -> y (1, 10)."""
    source, width = np.random.default_rng(1), WIDTHS[name]
    shapes = ((width, 1, 3, 3), (width, width, 3, 3), (width, width, 3, 3))
    weights = [
        numpy_helper.from_array((source.standard_normal(s) / math.sqrt(math.prod(s[1:]))).astype(np.float32), f"w{i}")
        for i, s in enumerate(shapes)
    ]
    head = (source.standard_normal((width, 10)) / math.sqrt(width)).astype(np.float32)
    nodes, last = [], "x"
    for index in range(3):
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [last := f"r{index}"]))
    nodes.append(helper.make_node("ReduceMean", [last], ["m"], axes=[2, 3], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["m", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 48, 48])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [*weights, numpy_helper.from_array(head, "head")],
    )
    path, golden = folder / f"{name}.onnx", folder / f"{name}.golden.npz"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    session = open_session(path, Format.ONNX, "onnxruntime", "cpu", 1)
    x = source.standard_normal((16, 1, 48, 48)).astype(np.float32)
    np.savez(golden, in_x=x, out_y=np.concatenate([session.run({"x": row[None]})["y"] for row in x]))
    binding = identity_binding(SIGNATURE, session.inputs, session.outputs)
    session.close()
    manifest = VariantManifest(
        variant_id=f"net.v1.{name}", model_id="net", model_version=1, name=name, format=Format.ONNX,
        signature=SIGNATURE, binding=binding, golden_max_abs_error=1e-2,
    )  # fmt: skip
    return LocalVariant(manifest, str(path), str(golden))


@dataclass(frozen=True)
class Device:
    """What stands in for a device: nothing, a declared slowdown, or the limits of an emulated class."""

    slowdown: float
    emulator: Emulator | None

    def describe(self) -> Emulation | None:
        if self.emulator is not None:
            return self.emulator.describe()
        return Emulation("benchmark", (f"declared slowdown x{self.slowdown:g}",)) if self.slowdown > 1 else None


def measure(variant: LocalVariant, device: Device) -> Rung:
    """The rung with its latency as benchmarked here and now, in a child of its own."""
    configuration = Configuration(variant.manifest.variant_id, "onnxruntime", "cpu", 1)
    request = BenchmarkRequest("b", 1, configuration, Tier.QUICK, Scenario.SINGLE_STREAM, (95.0,), 1, 60_000)
    spec = MeasureSpec(
        Path(variant.path), variant.manifest, request, emulation=device.describe(), slowdown_ratio=device.slowdown
    )
    on_spawn = device.emulator.enter if device.emulator is not None else None
    record = run_benchmark(spec, ChildLimits(wall_s=60, memory_bytes=2 << 30), on_spawn=on_spawn)
    if record.latency is None or record.latency.p95 is None:
        raise SystemExit(f"{variant.manifest.name} could not be measured: {'; '.join(record.reasons)}")
    return Rung(configuration, record.latency.p50, record.latency.p95, mean_ns=round(record.latency.mean))


def replay(
    ladder: Sequence[Rung], variants: Sequence[LocalVariant], slo: Slo, request: LoadRequest, device: Device
) -> tuple[LoadResult, list[Event]]:
    """One serving child, one load, from a cold start."""
    with tempfile.TemporaryDirectory() as folder:
        sink = Sink()
        listener = LocalListener(Path(folder) / "serving.sock", sink)
        listener.start()
        enter = device.emulator.enter if device.emulator is not None else None
        process = ServingProcess(listener, "net", ServingOptions(slowdown_ratio=device.slowdown, enter=enter))
        process.start()
        process.grant(LocalGrant(ServingGrant("d1", tuple(ladder), slo), "net", SIGNATURE, tuple(variants)))
        ready = sink.answers.get(timeout=60)
        if not isinstance(ready, LocalReady):
            raise SystemExit(f"the model is not served: {ready}")
        spec = LoadSpec(request, ready.http_port, slo.latency_ns, variants[-1].golden_path)
        result = run_load(spec, threading.Event())
        time.sleep(0.2)  # the last event is on its way
        process.stop("the benchmark is over")
        listener.close()
        return result, sink.events


def phases(ladder: Sequence[Rung], seconds: float) -> tuple[LoadPhase, ...]:
    """Quiet, a burst over the largest rung's capacity and well under the cheapest one's, quiet."""
    largest_hz, cheapest_hz = 1e9 / ladder[0].p50_ns, 1e9 / ladder[-1].p50_ns
    burst_hz = min(1.5 * largest_hz, 0.55 * cheapest_hz)
    if burst_hz < 1.1 * largest_hz:
        raise SystemExit("the cheapest rung is too close to the largest one for a burst between them")
    stretch_ms = round(seconds * 1000 / 3)
    return tuple(LoadPhase(rate, stretch_ms) for rate in (0.2 * largest_hz, burst_hz, 0.2 * largest_hz))


def main() -> int:
    """Measure, replay twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slowdown", type=float, default=1.0, help="declared slowdown of an emulated device")
    parser.add_argument("--profile", choices=("phone", "pi", "jetson"), help="emulate a device class")
    parser.add_argument("--seconds", type=float, default=45.0, help="length of the load")
    parser.add_argument("--slo-ms", type=float, help="default: 2.5 x the largest rung's p95, at least 20 ms")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with ExitStack() as stack:
        device = Device(options.slowdown, None)
        if options.profile:
            emulator = stack.enter_context(
                start_emulation(load_profile(options.profile), "bench-fallback", str(os.getpid()))
            )
            device = Device(emulator.slowdown_ratio, emulator)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        variants = [make_variant(Path(folder), name) for name in WIDTHS]
        ladder = [measure(variant, device) for variant in variants]
        slo_ns = round(options.slo_ms * 1e6) if options.slo_ms else max(20_000_000, round(2.5 * ladder[0].p95_ns))
        slo = Slo(slo_ns, 95.0)
        request = LoadRequest("load", 1, "net", phases(ladder, options.seconds), options.seed)
        alone, _ = replay(ladder[:1], variants[:1], slo, request, device)
        fallback, events = replay(ladder, variants, slo, request, device)
    row = _row(device, ladder, slo, request, alone, fallback, events)
    print(json.dumps([row], indent=2) if options.output == "json" else _text(row, events))
    met = row["missed_ratio_fallback"] < 0.01 and row["missed_ratio_largest"] >= 0.05 and not fallback.failed
    if not met:
        print("the claim (< 1 % with fallback, >= 5 % without, none failed) was NOT met here", file=sys.stderr)
    return 0 if met else 1


def _row(
    device: Device, ladder: Sequence[Rung], slo: Slo, request: LoadRequest,
    alone: LoadResult, fallback: LoadResult, events: Sequence[Event],
) -> dict[str, object]:  # fmt: skip
    return {
        "machine": platform.machine(),
        "emulation": "; ".join(emulation.how) if (emulation := device.describe()) is not None else "",
        "slo_ms": slo.latency_ns / 1e6,
        "rungs": [_rung(rung) for rung in ladder],
        "phases": [{"rate_hz": round(p.rate_hz, 1), "seconds": p.duration_ms / 1000} for p in request.phases],
        "offered": fallback.offered,
        "missed_ratio_largest": alone.slo_missed / max(1, alone.offered),
        "missed_ratio_fallback": fallback.slo_missed / max(1, fallback.offered),
        "failed": fallback.failed,
        "shed": fallback.shed,
        "p95_ms_largest": None if alone.p95_ns is None else alone.p95_ns / 1e6,
        "p95_ms_fallback": None if fallback.p95_ns is None else fallback.p95_ns / 1e6,
        "answered_by": dict(fallback.answered_by),
        "switches": [_switch(event) for event in events],
    }  # fmt: skip


def _rung(rung: Rung) -> dict[str, object]:
    return {"variant": rung.configuration.variant_id, "p50_ms": rung.p50_ns / 1e6, "p95_ms": rung.p95_ns / 1e6}


def _switch(event: Event) -> dict[str, object]:
    return {
        "from": event.from_variant_id,
        "to": event.to_variant_id,
        "direction": event.direction,
        "reason": event.reason,
        "ms": event.duration_ms,
    }


def _text(row: dict[str, object], events: Sequence[Event]) -> str:
    lines = [f"{key:24} {value}" for key, value in row.items() if key != "switches"]
    lines += [
        f"  {e.direction:5} {e.from_variant_id} -> {e.to_variant_id} in {e.duration_ms:.1f} ms: {e.reason}"
        for e in events
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
