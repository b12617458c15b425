"""The self-test: does the artifact answer golden inputs as it did where it was made?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from muster_bench.dataset import columns, load_arrays, split
from muster_bench.errors import SelfTestError
from muster_bench.face import Face
from muster_bench.runtimes.port import Array

# Kernels differ between machines by rounding; a wrong file differs by far more. Used when the manifest has no figure.
_DEFAULT_RELATIVE_TOLERANCE = 0.05


def self_test(face: Face, golden_path: Path, max_abs_error: float | None) -> float:
    """Run the golden inputs through ``face``; the largest absolute error found.

    ``max_abs_error`` is the manifest's tolerance; without one 5 % of the golden outputs' range is allowed.

    Raises:
        SelfTestError: an output is not finite, has another shape, or is further away than allowed.
        InvalidInputError: the golden file does not fit the signature.
    """
    arrays = load_arrays(golden_path)
    feeds = split(columns(arrays, "in_", face.signature.inputs), face.signature.inputs)
    wanted_all = columns(arrays, "out_", face.signature.outputs)
    worst = 0.0
    found = [face.run(feed) for feed in feeds]
    for name, wanted in wanted_all.items():
        got = np.concatenate([np.asarray(outputs[name]).reshape(-1) for outputs in found])
        worst = max(worst, _compare(name, got, wanted, max_abs_error))
    return worst


def _compare(name: str, got: Array, wanted: Array, max_abs_error: float | None) -> float:
    expected = wanted.reshape(-1).astype(np.float64)
    if got.shape != expected.shape:
        raise SelfTestError(f"output {name!r}: expected {expected.size} golden values, found {got.size}")
    if not np.isfinite(got.astype(np.float64)).all():
        raise SelfTestError(f"output {name!r} holds NaN or infinity")
    allowed = _allowed(expected) if max_abs_error is None else max_abs_error
    error = float(np.abs(got.astype(np.float64) - expected).max()) if expected.size else 0.0
    if error > allowed:
        raise SelfTestError(f"output {name!r} differs from its golden values by {error:.4g}, allowed are {allowed:.4g}")
    return error


def _allowed(expected: Array) -> float:
    spread = float(expected.max() - expected.min()) if expected.size else 0.0
    return _DEFAULT_RELATIVE_TOLERANCE * spread + 1e-3
