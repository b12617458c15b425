"""Accuracy on labelled samples and agreement with the reference variant's outputs, both on this very device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muster_bench import metrics
from muster_bench.dataset import columns, load_arrays, split
from muster_bench.face import Face
from muster_bench.runtimes.port import Array
from muster_protos.errors import InvalidInputError
from muster_protos.metric_names import is_regression_metric
from muster_protos.model import Accuracy, Signature

NO_LABELS = "no labels"
_RELATIVE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """What a variant answered to every sample; one row per sample, flattened."""

    outputs: dict[str, Array]
    references: dict[str, Array] | None
    inputs: dict[str, Array]
    labels: Array | None


def evaluate(face: Face, path: Path, on_progress: Callable[[int, int], None] = lambda _done, _total: None) -> Accuracy:
    """Run every sample of the evaluation npz at ``path`` (see ``dataset``) through ``face``.

    ``value`` is top-1 accuracy, ROC area, an error or the coefficient of determination, as the signature's metric
    says (its task decides when it names none). ``agreement`` is the share of samples with the reference's top-1;
    where outputs are no class scores, the share whose relative L2 distance is at most 5 %.

    Raises:
        InvalidInputError: the file does not fit the signature.
        ModelLoadError: the runtime fails on a sample.
    """
    return figures(face.signature, collect(face, load_arrays(path), on_progress))


def figures(signature: Signature, samples: Answers) -> Accuracy:
    """See ``evaluate``; for those who want the answers themselves, too.

    Raises:
        InvalidInputError: the references or labels do not fit the answers.
    """
    n = len(next(iter(samples.outputs.values())))
    is_classes = are_class_scores(signature, samples)
    quality, metric, reason = _quality(signature, samples, is_classes)
    agreement, max_abs_error, distance = _likeness(samples, is_classes)
    scores = next(iter(samples.outputs.values()))
    has_scores = is_classes and samples.labels is not None and scores.shape[1] > 1 and scores.dtype.kind == "f"
    return Accuracy(
        n=n,
        metric=metric,
        value=None if quality is None else quality.value,
        ci_low=None if quality is None else quality.low,
        ci_high=None if quality is None else quality.high,
        agreement=None if agreement is None else agreement.value,
        agreement_ci_low=None if agreement is None else agreement.low,
        agreement_ci_high=None if agreement is None else agreement.high,
        max_abs_error=max_abs_error,
        cosine_distance=distance,
        ece=metrics.calibration_error(scores, samples.labels) if has_scores and samples.labels is not None else None,
        unavailable_reason=reason,
    )


def collect(
    face: Face, arrays: dict[str, Array], on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Answers:
    """Run every sample of the evaluation arrays.

    Raises:
        InvalidInputError: they do not fit the signature.
        ModelLoadError: the runtime fails on a sample.
    """
    signature = face.signature
    inputs = columns(arrays, "x_", signature.inputs)
    feeds = split(inputs, signature.inputs)
    found: dict[str, list[Array]] = {spec.name: [] for spec in signature.outputs}
    for i, feed in enumerate(feeds):
        for name, array in face.run(feed).items():
            found[name].append(array)
        on_progress(i + 1, len(feeds))
    has_references = any(name.startswith("ref_") for name in arrays)
    n = _rows(found, len(feeds))
    references = columns(arrays, "ref_", signature.outputs) if has_references else None
    labels = np.asarray(arrays["y"]).reshape(-1) if "y" in arrays else None
    if labels is not None and len(labels) != n:
        raise InvalidInputError(f"expected {n} labels, one per sample, found {len(labels)}")
    if labels is not None and labels.dtype.kind not in "iufb":
        raise InvalidInputError(f"expected labels that are numbers, found {labels.dtype}")
    return Answers(
        {
            name: np.concatenate([_two_dimensional(item, n // len(feeds)) for item in items])
            for name, items in found.items()
        },
        None if references is None else {name: _two_dimensional(item, n) for name, item in references.items()},
        {name: _two_dimensional(item, n) for name, item in inputs.items()},
        labels,
    )


def _rows(found: dict[str, list[Array]], queries: int) -> int:
    """How many samples the queries held: the batch when every output has it as its first dimension."""
    firsts = {items[0].shape[0] if items[0].ndim > 1 else 1 for items in found.values()}
    return queries * (firsts.pop() if len(firsts) == 1 else 1)


def _two_dimensional(array: Array, n: int) -> Array:
    if array.size % n:
        raise InvalidInputError(f"expected values for {n} samples, found shape {list(array.shape)}")
    return array.reshape(n, -1)


def are_class_scores(signature: Signature, samples: Answers) -> bool:
    """One output of at least two values per sample that is not a reconstruction of the input."""
    if signature.task == "classification" or signature.metric == "accuracy":
        return len(signature.outputs) >= 1
    if signature.task == "regression" or signature.metric == "auc" or is_regression_metric(signature.metric):
        return False
    width = next(iter(samples.outputs.values())).shape[1]
    return len(signature.outputs) == 1 and width > 1 and all(x.shape[1] != width for x in samples.inputs.values())


def _quality(signature: Signature, samples: Answers, is_classes: bool) -> tuple[metrics.Figure | None, str, str]:
    """The figure, its metric, and why it is missing."""
    metric = signature.metric or ("accuracy" if is_classes else "mae" if signature.task == "regression" else "")
    if samples.labels is None:
        return None, metric, NO_LABELS
    first = next(iter(samples.outputs.values()))
    match metric:
        case "accuracy":
            hits = int((_top1(first) == samples.labels).sum())
            return metrics.share(hits, len(first)), metric, ""
        case "auc":
            figure = metrics.area_under_curve(_anomaly_scores(first, samples), samples.labels.astype(bool))
            return figure, metric, "" if figure else "the labels hold one class only"
        case "mae" | "mse":
            errors = np.abs(first.astype(np.float64) - samples.labels[:, None])
            return metrics.mean((errors if metric == "mae" else errors**2).mean(axis=1)), metric, ""
        case "rmse":
            return metrics.root_mean_square(first.astype(np.float64) - samples.labels[:, None]), metric, ""
        case "r2":
            figure = metrics.explained_variance(first.astype(np.float64).mean(axis=1), samples.labels)
            return figure, metric, "" if figure else "the labels are all alike, so there is no variance to explain"
        case _:
            return None, metric, f"labels are there, but the model's metric {metric!r} is not known here"


def _top1(scores: Array) -> Array:
    """The class of each row: the largest score; a single value is the class itself, or a probability of class 1."""
    if scores.shape[1] > 1:
        return np.asarray(scores.argmax(axis=1))
    values = scores[:, 0]
    return np.asarray(values > 0.5).astype(np.int64) if values.dtype.kind == "f" else values


def _anomaly_scores(outputs: Array, samples: Answers) -> Array:
    """One output value is the score; a reconstruction is scored by its mean squared error, as in MLPerf Tiny."""
    if outputs.shape[1] == 1:
        return outputs[:, 0].astype(np.float64)
    inputs = next(iter(samples.inputs.values()))
    if inputs.shape != outputs.shape:
        return outputs[:, -1].astype(np.float64)
    return np.asarray(((inputs.astype(np.float64) - outputs.astype(np.float64)) ** 2).mean(axis=1))


def _likeness(samples: Answers, is_classes: bool) -> tuple[metrics.Figure | None, float | None, float | None]:
    """Agreement, greatest absolute error and cosine distance against the reference outputs."""
    if samples.references is None:
        return None, None, None
    first = next(iter(samples.outputs))
    got, wanted = samples.outputs[first], samples.references[first]
    for name, array in samples.references.items():
        if array.shape != samples.outputs[name].shape:
            raise InvalidInputError(
                f"expected reference outputs {name!r} of {samples.outputs[name].shape[1]} values per sample, "
                f"found {array.shape[1]}"
            )
    if is_classes:
        alike = _top1(got) == _top1(wanted)
    else:
        away = np.linalg.norm(got.astype(np.float64) - wanted, axis=1)
        alike = away <= _RELATIVE_TOLERANCE * np.linalg.norm(wanted.astype(np.float64), axis=1)
    errors = [
        float(np.abs(samples.outputs[name].astype(np.float64) - array).max())
        for name, array in samples.references.items()
    ]
    return metrics.share(int(alike.sum()), len(alike)), max(errors), metrics.cosine_distance(got, wanted)
