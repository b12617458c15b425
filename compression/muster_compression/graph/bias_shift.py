"""How far rounded weights move the mean of a layer's outputs, so that the bias can take it back. Pure.

The mean over samples of a convolution is the convolution of the mean input: one mean tensor for each layer is enough.
(Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction", 2019, section 4.2, with means
measured on samples instead of derived from batch normalisation.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution's kernel moves: (rows, columns) each."""

    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right; of zeros
    groups: int = 1


def convolution_shift(mean_input: Floats, error: Floats, window: Window) -> Floats:
    """Mean over space of the outputs that ``error`` alone would give: one number for each output channel.

    ``mean_input`` is (channels, rows, columns), ``error`` (outputs, channels / groups, kernel rows, kernel columns).
    """
    top, left, bottom, right = window.pads
    padded = np.pad(mean_input, ((0, 0), (top, bottom), (left, right)))
    outputs, per_group, kernel_rows, kernel_columns = error.shape
    rows = _positions(padded.shape[1], kernel_rows, window.strides[0], window.dilations[0])
    columns = _positions(padded.shape[2], kernel_columns, window.strides[1], window.dilations[1])
    means = np.empty((len(padded), kernel_rows, kernel_columns))
    for row in range(kernel_rows):
        for column in range(kernel_columns):
            taken = padded[:, [row * window.dilations[0] + at for at in rows]]
            means[:, row, column] = taken[:, :, [column * window.dilations[1] + at for at in columns]].mean((1, 2))
    grouped = means.reshape(window.groups, per_group, kernel_rows, kernel_columns)
    by_group = error.reshape(window.groups, outputs // window.groups, per_group, kernel_rows, kernel_columns)
    shift: Floats = np.einsum("gcij,gocij->go", grouped, by_group).reshape(outputs)
    return shift


def product_shift(mean_input: Floats, error: Floats) -> Floats:
    """The same for a matrix product: ``mean_input`` (features,), ``error`` (features, outputs)."""
    shift: Floats = mean_input @ error
    return shift


def _positions(size: int, kernel: int, stride: int, dilation: int) -> Sequence[int]:
    """Where the kernel's first tap lies along one axis of the padded input."""
    return range(0, size - (kernel - 1) * dilation, stride)
