"""Inputs for a model of which nothing is known but its signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from muster_bench.runtimes.port import Array, fixed_shape
from muster_protos.model import TensorSpec


def generate(specs: Sequence[TensorSpec], seed: int, free: int = 1) -> dict[str, Array]:
    """One feed: floats uniform in [0, 1); 8-bit integers over their range; wider ones 0 or 1, so that indices hold."""
    random = np.random.default_rng(seed)
    return {spec.name: _tensor(spec, random, free) for spec in specs}


def _tensor(spec: TensorSpec, random: np.random.Generator, free: int) -> Array:
    shape, dtype = fixed_shape(spec.shape, free), np.dtype(spec.dtype)
    if dtype.kind == "f":
        return np.asarray(random.random(shape, dtype=np.float32)).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(random.integers(0, 2, shape)).astype(dtype)
    if dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return np.asarray(random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True))
    return np.asarray(random.integers(0, 2, shape, dtype=dtype))
