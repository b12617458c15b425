"""Prove a runtime by one real inference of the null model."""

from __future__ import annotations

import numpy as np

from muster_bench.child import Json, Send
from muster_bench.errors import ModelLoadError
from muster_bench.null_model import null_artifact
from muster_bench.runtimes import open_session
from muster_protos.model import Format


def probe(spec: Json, send: Send) -> Json:
    """``{"runtime", "provider", "format"}`` to ``{"version"}``.

    Raises:
        MusterError: the runtime is missing or does not infer.
    """
    send({"stage": f"probing {spec['runtime']} with {spec['provider']}"})
    with null_artifact(Format(spec["format"])) as path:
        session = open_session(path, Format(spec["format"]), spec["runtime"], spec["provider"], 1)
        answers = [session.run({"x": np.array([value], np.float32)})["y"].tolist() for value in (-2.0, 3.0)]
        if answers != [[0.0], [3.0]]:
            raise ModelLoadError(f"{spec['runtime']} computes relu(-2), relu(3) as {answers}")
        return {"version": session.runtime_version}
