"""Samples that a quantizer measures ranges on, and that a search compares outputs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muster_bench.face_tensor import InputFace
from muster_compression.dataset.splits import Array
from muster_compression.face import bind, open_artifact
from muster_compression.passes.port import PassContext, PassError
from muster_protos.model import Format

FEWEST_SAMPLES = 8
MOST_SAMPLES = 2000


def choose(context: PassContext, wanted: int, pass_name: str) -> NDArray[np.intp]:
    """Rows of the calibration samples: all, or ``wanted`` of them drawn by the seed, in their own order.

    Raises:
        PassError: there are too few samples, or one of those chosen is not finite.
    """
    count = len(next(iter(context.calibration.values()), ()))
    if count < FEWEST_SAMPLES:
        raise PassError(
            f"{pass_name} expected at least {FEWEST_SAMPLES} samples to calibrate on, found {count}; "
            "add x_train to the data"
        )
    chosen = np.arange(count)
    if count > wanted:
        chosen = np.sort(np.random.default_rng(context.seed).choice(count, wanted, replace=False))
    _check_finite(context.calibration, chosen, pass_name)
    return chosen


def feeds(
    path: Path,
    format: Format,  # noqa: A002
    context: PassContext,
    samples: Mapping[str, Array],
    rows: NDArray[np.intp],
) -> Iterator[dict[str, Array]]:
    """Canonical samples, one at a time, as the artifact's own tensors by name."""
    session = open_artifact(path, format)
    binding = bind(session, context.signature)
    session.close()
    specs = {spec.name: spec for spec in context.signature.inputs}
    faces = {item.canonical_name: InputFace(specs[item.canonical_name], item) for item in binding.inputs}
    for row in rows.tolist():
        yield {face.tensor_name: face.convert(samples[name][row : row + 1]) for name, face in faces.items()}


def comparison(context: PassContext, wanted: int, pass_name: str) -> tuple[Mapping[str, Array], NDArray[np.intp]]:
    """Samples to compare outputs on: the holdout where there is one, else the calibration samples."""
    if context.holdout is None or len(context.holdout) < FEWEST_SAMPLES:
        return context.calibration, choose(context, wanted, pass_name)
    count = len(context.holdout)
    rows = np.arange(count)
    if count > wanted:
        rows = np.sort(np.random.default_rng(context.seed).choice(count, wanted, replace=False))
    _check_finite(context.holdout.inputs, rows, pass_name)
    return context.holdout.inputs, rows


def _check_finite(samples: Mapping[str, Array], rows: NDArray[np.intp], pass_name: str) -> None:
    for name, values in samples.items():
        if values.dtype.kind != "f":
            continue
        bad = np.flatnonzero(~np.isfinite(values[rows].reshape(len(rows), -1)).all(axis=1))
        if len(bad):
            raise PassError(
                f"{pass_name} expected finite samples, found NaN or infinity in {name or 'the input'!r}, "
                f"sample {int(rows[bad[0]])} ({len(bad)} of {len(rows)} are not finite)"
            )
