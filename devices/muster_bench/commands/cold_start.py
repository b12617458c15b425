"""One cold start, phase by phase."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from muster_bench.child import STARTED_NS, Json, Send
from muster_bench.slowdown import Slowdown
from muster_protos.codec import decode
from muster_protos.model import Configuration, VariantManifest


def cold_start(spec: Json, send: Send) -> Json:
    """Phases in ns: spawn (parent's call to the child's first line), import, load, first inference.

    The contract and the spec are read, and the artifact is screened, between the phases and in none of them.

    Raises:
        MusterError: the artifact's structure is refused, or it cannot be loaded or executed.
    """
    manifest = decode(VariantManifest, base64.b64decode(spec["manifest"]))
    configuration = decode(Configuration, base64.b64decode(spec["configuration"]))
    slowdown = Slowdown(spec["slowdown_ratio"])
    send({"stage": "importing the runtime"})
    import_ns = _timed(lambda: _import_runtime(configuration.runtime), slowdown)
    from muster_bench.face import Face
    from muster_bench.generated_inputs import generate
    from muster_bench.runtimes import open_session
    from muster_bench.screen import screen_artifact

    path = Path(spec["artifact_path"])
    send({"stage": "screening the artifact"})
    screen_artifact(path, manifest.format)
    feeds = generate(manifest.signature.inputs, seed=0)
    send({"stage": "loading the model"})
    started_ns = time.perf_counter_ns()
    session = open_session(
        path,
        manifest.format,
        configuration.runtime,
        configuration.provider,
        configuration.threads,
    )
    slowdown.stretch(started_ns)
    load_ns = time.perf_counter_ns() - started_ns
    face = Face(session, manifest.signature, manifest.binding)
    send({"stage": "making the first inference"})
    first_ns = _timed(lambda: face.run(feeds), slowdown)
    return {
        "spawn": STARTED_NS - spec["spawned_ns"],
        "import_runtime": import_ns,
        "load": load_ns,
        "first_inference": first_ns,
    }


def _import_runtime(runtime: str) -> None:
    if runtime == "onnxruntime":
        from muster_bench.runtimes.session_onnxruntime import import_onnxruntime

        import_onnxruntime()
        return
    from muster_bench.runtimes.session_litert import import_interpreter

    import_interpreter()


def _timed(work: object, slowdown: Slowdown) -> int:
    assert callable(work)
    started_ns = time.perf_counter_ns()
    work()
    slowdown.stretch(started_ns)
    return time.perf_counter_ns() - started_ns
