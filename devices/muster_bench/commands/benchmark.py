"""Measure one configuration in this process: memory, latency, null model, accuracy."""

from __future__ import annotations

import base64
import os
import platform
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from muster_bench import process_memory
from muster_bench.child import Json, Send
from muster_bench.dataset import columns, load_arrays, split
from muster_bench.evaluate import evaluate
from muster_bench.face import Face, FaceRun, identity_binding
from muster_bench.generated_inputs import generate
from muster_bench.null_model import SIGNATURE, null_artifact
from muster_bench.runtimes import Session, open_session
from muster_bench.runtimes.port import Array
from muster_bench.screen import screen_artifact
from muster_bench.sketch import encode_sketch, sketch_of
from muster_bench.slowdown import Slowdown
from muster_bench.stats import summarise
from muster_bench.tiers import RunLength, run_length
from muster_bench.timed_loop import LoopResult, run_loop
from muster_protos.codec import decode, encode
from muster_protos.model import (
    BenchmarkRecord,
    BenchmarkRequest,
    Build,
    Memory,
    VariantManifest,
    Workload,
)

_MAX_INPUTS = 32
_MAX_INPUT_BYTES = 8 << 20
_LOOP_SHARE, _WARMUP_SHARE = 0.5, 0.15  # of the time that is left when the model is loaded
_NULL_LENGTH = RunLength(min_queries=1000, min_duration_s=0.1, cap_s=5.0, warmup_min_s=0.05, warmup_cap_s=0.5)


def benchmark(spec: Json, send: Send) -> Json:
    """The child's part of the record, as ``{"record": base64 of its bytes}``; the parent adds the rest.

    Raises:
        MusterError: the artifact cannot be loaded, bound or executed.
    """
    manifest = decode(VariantManifest, base64.b64decode(spec["manifest"]))
    request = decode(BenchmarkRequest, base64.b64decode(spec["request"]))
    configuration = request.configuration
    path = Path(spec["artifact_path"])
    send({"stage": "loading the model"})
    facts = screen_artifact(path, manifest.format)
    evaluation = Path(spec["evaluation_path"]) if spec["evaluation_path"] else None
    feeds = _inputs(manifest, evaluation, request.seed)
    _import_runtime(configuration.runtime)
    process_memory.reset_peak()
    baseline = process_memory.resident_bytes()
    session = open_session(path, manifest.format, configuration.runtime, configuration.provider, configuration.threads)
    face = Face(session, manifest.signature, manifest.binding)
    runs = face.bind(feeds)
    length = _within(run_length(request.tier, request.percentiles), spec["deadline_ns"])
    loop = _measure(runs, length, Slowdown(spec["slowdown_ratio"]), send)
    memory = _memory(baseline, path)
    send({"stage": "measuring the null model"})
    null = _null_overhead(manifest, request)
    accuracy = None
    if evaluation is not None:
        send({"stage": "evaluating accuracy"})
        accuracy = evaluate(face, evaluation)
    record = BenchmarkRecord(
        build=_build(session, configuration.runtime, configuration.provider, configuration.threads),
        precision=facts.precision,
        workload=Workload(batch=_batch(manifest), inputs=len(feeds)),
        latency=replace(summarise(loop.latencies_ns), null_overhead=null),
        throughput_ips=loop.queries / (loop.duration_ns / 1e9),
        memory=memory,
        accuracy=accuracy,
        latency_sketch=encode_sketch(sketch_of(loop.latencies_ns)),
        warmup_queries=loop.warmup_queries,
    )
    face.close()
    return {
        "record": base64.b64encode(encode(record)).decode(),
        "queries": loop.queries,
        "duration_ns": loop.duration_ns,
        "has_samples": evaluation is not None,
    }


def _within(length: RunLength, deadline_ns: int) -> RunLength:
    """Leave time before the deadline (monotonic ns) for the null model and accuracy: a short run beats a killed one."""
    left_s = max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
    return replace(
        length,
        cap_s=min(length.cap_s, left_s * _LOOP_SHARE),
        warmup_min_s=min(length.warmup_min_s, left_s * _WARMUP_SHARE),
        warmup_cap_s=min(length.warmup_cap_s, left_s * _WARMUP_SHARE),
    )


def _measure(runs: list[FaceRun], length: RunLength, slowdown: Slowdown, send: Send) -> LoopResult:
    send({"stage": "measuring latency"})

    def report(queries: int, elapsed_ns: int) -> None:
        share = min(queries / length.min_queries, elapsed_ns / 1e9 / max(length.min_duration_s, 1e-9))
        send({"progress": {"done": min(1.0, share), "note": f"{queries} queries"}})

    return run_loop(runs, length, slowdown, report)


def _inputs(manifest: VariantManifest, evaluation: Path | None, seed: int) -> list[dict[str, Array]]:
    """Real samples where there are some, else generated ones; at most 32 and 8 MiB, chosen and ordered by the seed."""
    specs = manifest.signature.inputs
    if evaluation is None:
        first = generate(specs, seed)
        few = max(1, min(_MAX_INPUTS, _MAX_INPUT_BYTES // max(1, _bytes(first))))
        return [first, *(generate(specs, seed + i) for i in range(1, few))]
    feeds = split(columns(load_arrays(evaluation), "x_", specs), specs)
    few = max(1, min(_MAX_INPUTS, len(feeds), _MAX_INPUT_BYTES // max(1, _bytes(feeds[0]))))
    chosen = random.Random(seed).sample(feeds, few)
    return [{name: np.array(array) for name, array in feed.items()} for feed in chosen]  # copies: the rest is freed


def _bytes(feed: dict[str, Array]) -> int:
    return sum(array.nbytes for array in feed.values())


def _batch(manifest: VariantManifest) -> int:
    shape = manifest.signature.inputs[0].shape
    return shape[0] if shape and shape[0] > 0 else 1


def _import_runtime(runtime: str) -> None:
    """Before the baseline: the library's own pages are no part of the model's memory."""
    if runtime == "onnxruntime":
        from muster_bench.runtimes.session_onnxruntime import import_onnxruntime

        import_onnxruntime()
    elif runtime == "litert":
        from muster_bench.runtimes.session_litert import import_interpreter

        import_interpreter()


def _memory(baseline: int | None, path: Path) -> Memory:
    peak = process_memory.peak_bytes()
    return Memory(
        baseline=baseline,
        peak_hwm=peak,
        peak_net=None if peak is None or baseline is None else max(0, peak - baseline),
        pss_steady=process_memory.proportional_bytes(),
        file=path.stat().st_size,
    )


def _null_overhead(manifest: VariantManifest, request: BenchmarkRequest) -> int:
    """p50 in ns of the null model through the same runtime, face and loop, without the declared slowdown."""
    own = request.configuration
    with null_artifact(manifest.format) as path:
        session = open_session(path, manifest.format, own.runtime, own.provider, own.threads)
        face = Face(session, SIGNATURE, identity_binding(SIGNATURE, session.inputs, session.outputs))
        runs = face.bind([{"x": np.array([value], np.float32)} for value in (-1.0, 1.0)])
        return summarise(run_loop(runs, _NULL_LENGTH, Slowdown()).latencies_ns).p50


def _build(session: Session, runtime: str, provider: str, threads: int) -> Build:
    return Build(
        runtime=runtime,
        runtime_version=session.runtime_version,
        provider=provider,
        threads=threads,
        affinity=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (),
        python_version=platform.python_version(),
        library_versions={"numpy": np.__version__},
    )
