"""Outputs of an artifact for many samples, by the host's own runtime; runs models, so only ever in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muster_bench.face import Face
from muster_compression.dataset.splits import Array
from muster_compression.face import bind, open_artifact
from muster_protos.model import Format, Signature


def answers_of(
    path: Path,
    format: Format,  # noqa: A002
    signature: Signature,
    samples: Mapping[str, Array],
    rows: NDArray[np.intp],
) -> list[Array]:
    """Every output of the signature in its order, joined over ``rows`` of the canonical samples.

    Raises:
        ModelLoadError: the runtime refuses the file.
        FaceError: its tensors do not map to the signature.
    """
    session = open_artifact(path, format)
    try:
        face = Face(session, signature, bind(session, signature))
        parts = [face.run({name: values[row : row + 1] for name, values in samples.items()}) for row in rows.tolist()]
    finally:
        session.close()
    joined = [[part[spec.name] for part in parts] for spec in signature.outputs]
    return [np.concatenate(column) if column[0].ndim else np.stack(column) for column in joined]
