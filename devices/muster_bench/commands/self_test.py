"""Run golden inputs and compare."""

from __future__ import annotations

import base64
from pathlib import Path

from muster_bench.child import Json, Send
from muster_bench.face import Face
from muster_bench.golden import self_test as compare
from muster_bench.runtimes import open_session
from muster_bench.screen import screen_artifact
from muster_protos.codec import decode
from muster_protos.model import Configuration, VariantManifest


def self_test(spec: Json, send: Send) -> Json:
    """``{"artifact_path", "golden_path", "manifest", "configuration"}`` to ``{"max_abs_error"}``.

    Raises:
        MusterError: see ``golden.self_test``; or the artifact cannot be loaded.
    """
    manifest = decode(VariantManifest, base64.b64decode(spec["manifest"]))
    configuration = decode(Configuration, base64.b64decode(spec["configuration"]))
    path = Path(spec["artifact_path"])
    send({"stage": "loading the model"})
    screen_artifact(path, manifest.format)
    session = open_session(path, manifest.format, configuration.runtime, configuration.provider, configuration.threads)
    face = Face(session, manifest.signature, manifest.binding)
    send({"stage": "running golden inputs"})
    return {"max_abs_error": compare(face, Path(spec["golden_path"]), manifest.golden_max_abs_error)}
