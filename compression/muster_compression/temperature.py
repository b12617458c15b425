"""Temperature scaling: one number that makes a classifier's confidence honest without changing its answers.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster_bench.metrics import calibration_error, probabilities
from muster_compression.dataset.splits import Array

FEWEST_SAMPLES = 40
_FOLDS = 5
_SEED = 0
_HALVINGS = 40
_LOWEST, _HIGHEST = 0.02, 50.0
_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scaling gives. ``calibrated_ece`` scales each fifth of the samples by what the other four say."""

    temperature: float
    calibrated_ece: float
    unfitted_folds: int = 0  # fifths whose other four have no best temperature: that of all samples stands in

    @property
    def note(self) -> str:
        """What a person should know of ``calibrated_ece``; "" = nothing."""
        if not self.unfitted_folds:
            return ""
        return (
            f"calibrated ECE: {self.unfitted_folds} of {_FOLDS} folds could not be fitted by the others (too few wrong "
            "answers); the temperature of all samples stands in, so it looks better than it is"
        )


def calibrate(scores: Array, labels: Array) -> Calibration | None:
    """Fit on labelled scores of samples that the model was not trained on.

    Args:
        scores: (n, classes) logits or probabilities.
        labels: (n,) class indices.

    Returns:
        None where nothing can be fitted: fewer than 40 samples, one score per sample, labels that are no classes, or
        answers that are all right (then any confidence short of 1 is too low, and no temperature is the best).
    """
    if len(scores) < FEWEST_SAMPLES or scores.shape[1] < 2:
        return None
    if not np.isin(labels, np.arange(scores.shape[1])).all():
        return None
    logs = np.log(np.maximum(probabilities(scores), _SMALLEST_PROBABILITY))
    classes = labels.astype(np.int64)
    temperature = fit_temperature(logs, classes)
    if temperature is None:
        return None
    fold = np.random.default_rng(_SEED).permutation(len(logs)) % _FOLDS  # samples may come in an order
    scaled = logs.copy()
    unfitted = 0
    for index in range(_FOLDS):
        others = fit_temperature(logs[fold != index], classes[fold != index])
        unfitted += others is None
        scaled[fold == index] /= temperature if others is None else others
    return Calibration(temperature, calibration_error(scaled, classes), unfitted)


def fit_temperature(logits: Array, labels: Array) -> float | None:
    """The T in 0.02 to 50 with the least negative log-likelihood of softmax(logits / T); None when it is at an end.

    The loss is convex in b = 1 / T: its slope, the mean of E_p[logit] - logit of the label under p = softmax(b logits),
    only rises, so halving finds where it is 0.
    """
    values = logits.astype(np.float64)
    of_label = values[np.arange(len(values)), labels].mean()

    def slope(beta: float) -> float:
        return float((probabilities_at(values, beta) * values).sum(axis=1).mean() - of_label)

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    if slope(low) >= 0 or slope(high) <= 0:
        return None
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / math.sqrt(low * high)


def probabilities_at(logits: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """softmax(beta logits), row by row."""
    scaled = beta * (logits - logits.max(axis=1, keepdims=True))
    raised = np.exp(scaled)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
