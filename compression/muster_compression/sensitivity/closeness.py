"""How close the outputs of a changed model are to those of the model it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muster_compression.dataset.splits import Array

_MATRIX_RANK = 2


@dataclass(frozen=True, slots=True)
class Closeness:
    """Figures over all samples."""

    sqnr_db: float | None  # 10 log10 of signal over error power, all outputs together; None when nothing differs
    agreement: float | None  # share of rows with the same largest score in the first output; None without classes

    @property
    def rank(self) -> float:
        """Larger is closer; infinite when nothing differs."""
        return math.inf if self.sqnr_db is None else self.sqnr_db


def closeness(wanted: Sequence[Array], found: Sequence[Array]) -> Closeness:
    """Compare outputs in the order of the model's, rows on axis 0.

    An answer that is not finite is infinitely far: its SQNR is minus infinity.
    """
    signal = noise = 0.0
    for reference, answer in zip(wanted, found, strict=True):
        expected = reference.astype(np.float64)
        signal += float((expected**2).sum())
        noise += float(((answer.astype(np.float64) - expected) ** 2).sum())
    return Closeness(_decibel(signal, noise), agreement(wanted[0], found[0]))


def agreement(wanted: Array, found: Array) -> float | None:
    """Share of rows whose largest score is at the same place; None unless rows hold at least two scores."""
    rows = wanted.reshape(len(wanted), -1) if wanted.ndim else wanted
    if rows.ndim != _MATRIX_RANK or rows.shape[1] < _MATRIX_RANK:
        return None
    return float((rows.argmax(1) == found.reshape(len(found), -1).argmax(1)).mean())


def _decibel(signal: float, noise: float) -> float | None:
    if noise == 0:
        return None
    if not math.isfinite(noise) or signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)
