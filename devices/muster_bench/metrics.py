"""Quality figures with 95 % intervals. Child side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from muster_bench.runtimes.port import Array

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point
_ECE_BINS = 15
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its interval."""

    value: float
    low: float | None
    high: float | None


def share(hits: int, n: int) -> Figure:
    """A proportion with Wilson's interval (Wilson, JASA 22, 1927); n > 0."""
    p = hits / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Figure(p, max(0.0, centre - half), min(1.0, centre + half))


def area_under_curve(scores: Array, is_positive: Array) -> Figure | None:
    """Area under the ROC curve by ranks, ties counted half; interval after Hanley and McNeil (Radiology 143, 1982).

    None when there is only one class.
    """
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return None
    ordered, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    del ordered
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    area = float((ranks[is_positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)) / (
        positives * negatives
    )
    half = Z95 * math.sqrt(max(0.0, variance))
    return Figure(area, max(0.0, area - half), min(1.0, area + half))


def mean(values: Array) -> Figure:
    """The mean with its normal interval; no interval for one value."""
    value = float(values.mean())
    if len(values) < 2:
        return Figure(value, None, None)
    half = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Figure(value, value - half, value + half)


def root_mean_square(errors: Array) -> Figure:
    """The root of the mean squared error over all values of (n, width) errors, with the interval of that mean."""
    squared = mean((errors**2).mean(axis=1))
    low, high = (None if bound is None else math.sqrt(max(0.0, bound)) for bound in (squared.low, squared.high))
    return Figure(math.sqrt(squared.value), low, high)


def explained_variance(predictions: Array, labels: Array) -> Figure | None:
    """Coefficient of determination, 1 - residual / total sum of squares; interval by 1,000 seeded resamples.

    None when the labels do not differ. Percentile bootstrap: Efron and Tibshirani, 1993, chapter 13.
    """
    truth = labels.astype(np.float64)
    if not np.ptp(truth):
        return None
    chosen = np.random.default_rng(0).integers(0, len(truth), (_RESAMPLES, len(truth)))
    residual = ((predictions - truth)[chosen] ** 2).sum(axis=1)
    total = ((truth[chosen] - truth[chosen].mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    found = 1 - residual[total > 0] / total[total > 0]
    low, high = (float(value) for value in np.quantile(found, (0.025, 0.975)))
    value = 1 - float(((predictions - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    return Figure(value, min(low, value), max(high, value))


def probabilities(rows: Array) -> Array:
    """Rows as they are when they are distributions, else their softmax."""
    rows = rows.astype(np.float64)
    if rows.min() >= -1e-3 and np.allclose(rows.sum(axis=1), 1.0, atol=2e-2):
        return rows
    raised = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def calibration_error(rows: Array, labels: Array) -> float:
    """Expected calibration error over 15 equal-width bins of confidence (Guo et al., ICML 2017)."""
    distribution = probabilities(rows)
    confidence = distribution.max(axis=1)
    is_right = distribution.argmax(axis=1) == labels
    bins = np.minimum((confidence * _ECE_BINS).astype(int), _ECE_BINS - 1)
    gaps = [abs(is_right[bins == i].mean() - confidence[bins == i].mean()) * (bins == i).sum() for i in np.unique(bins)]
    return float(sum(gaps) / len(rows))


def cosine_distance(outputs: Array, references: Array) -> float:
    """1 - the mean cosine of each row with its reference; two zero rows are alike."""
    a, b = outputs.astype(np.float64), references.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    cosines = np.where(norms > 0, (a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0), both_zero.astype(float))
    return float(max(0.0, 1.0 - cosines.mean()))
