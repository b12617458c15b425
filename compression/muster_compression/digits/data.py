"""scikit-learn's 1,797 handwritten digits (8 x 8, 16 grey levels), upscaled, scaled to 0..1, split by a fixed seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muster_compression.dataset.splits import ONLY_INPUT, DataSet, Split
from muster_protos.errors import MissingExtraError

SIDE = 64
_TRAIN, _VALIDATION = 1100, 350  # the rest, 347, is for testing
_SEED = 20
_DARKEST = 16.0


def digits(side: int = SIDE) -> DataSet:
    """Splits of float32 images (n, 1, side, side) in 0..1 with int64 labels 0..9.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("builtin:digits needs scikit-learn: pip install 'muster-edge[compress]'") from error
    raw = load_digits()
    images = upscale(np.asarray(raw.images, np.float32) / np.float32(_DARKEST), side)[:, None]
    labels = np.asarray(raw.target, np.int64)
    order = np.random.default_rng(_SEED).permutation(len(labels))
    parts = np.split(order, [_TRAIN, _TRAIN + _VALIDATION])
    train, validation, test = (Split({ONLY_INPUT: images[part]}, labels[part]) for part in parts)
    return DataSet("builtin:digits", train, validation, test)


def upscale(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Bilinear interpolation of (n, h, w) to (n, side, side) with pixel centres aligned (no torch needed)."""
    rows, columns = _weights(images.shape[1], side), _weights(images.shape[2], side)
    return np.ascontiguousarray(np.einsum("sh,nhw,tw->nst", rows, images, columns, optimize=True), np.float32)


def _weights(small: int, large: int) -> NDArray[np.float32]:
    """(large, small) matrix of linear interpolation."""
    centres = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.minimum(centres.astype(int), small - 2)
    fraction = (centres - low).astype(np.float32)
    weights = np.zeros((large, small), np.float32)
    weights[np.arange(large), low] = 1 - fraction
    weights[np.arange(large), low + 1] = fraction
    return weights
