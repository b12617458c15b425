"""How good a variant is on the host: finite and well-shaped outputs, accuracy, agreement, SQNR, golden answers.

Runs models, so only ever in a child process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muster_bench.dataset import columns, load_arrays, split
from muster_bench.evaluate import Answers, are_class_scores, collect, figures
from muster_bench.face import Face
from muster_compression.dataset.splits import Array
from muster_compression.face import open_face, versions
from muster_compression.own_metric import OwnMetric, measured
from muster_compression.temperature import Calibration, calibrate
from muster_protos.errors import InvalidInputError
from muster_protos.model import Accuracy, Binding, Format, Signature

GOLDEN_COUNT = 8
_SQNR_SAMPLES = 64

_FLOOR_OF_RANGE = {"fp32": 0.005, "fp64": 0.005, "fp16": 0.02, "bf16": 0.04}
_FLOOR_OF_QUANTIZED = 0.05
_CEILING_OF_RANGE = 0.25
_TIMES_OWN_ERROR = 2.0
_SMALLEST_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of a variant's outputs."""

    accuracy: Accuracy
    sqnr_db: float | None  # None without a reference, or when nothing differs
    golden: Mapping[str, Array]  # in_<input>, out_<output>
    golden_max_abs_error: float
    runtime_versions: Mapping[str, str]
    calibration: Calibration | None = None  # of confidence, by temperature scaling; None where it has no meaning


def judge(
    path: Path,
    format: Format,  # noqa: A002
    signature: Signature,
    binding: Binding,
    evaluation_path: Path,
    precision: str,
    on_progress: Callable[[int, int], None],
    is_derived: bool = True,
    own_metric: OwnMetric | None = None,
) -> Judgement:
    """Run the evaluation set through the variant on the host's CPU, one thread.

    ``is_derived`` says that the variant was computed from the baseline, so that their distance is rounding noise; a
    ready-made one may be another network.

    Raises:
        InvalidInputError: its outputs are not finite or have another shape than the signature's.
        ModelLoadError: the runtime fails on it.
    """
    face = open_face(path, format, signature, binding)
    try:
        arrays = load_arrays(evaluation_path)
        feeds = split(columns(arrays, "x_", signature.inputs), signature.inputs)
        references = columns(arrays, "ref_", signature.outputs)
        answers = [_checked(face, feed, path.name) for feed in feeds[:_SQNR_SAMPLES]]
        collected = collect(face, arrays, on_progress)
        accuracy = measured(own_metric, figures(signature, collected), collected, signature)
        chosen = golden_indices(len(feeds), arrays.get("y"))
        golden_answers = [face.run(feeds[index]) for index in chosen]
        golden = _golden(signature, [feeds[index] for index in chosen], golden_answers)
        rows = {name: len(values) // len(feeds) for name, values in references.items()}
        wanted = {
            name: np.concatenate([values[index * rows[name] : (index + 1) * rows[name]] for index in chosen])
            for name, values in references.items()
        }
        return Judgement(
            accuracy=accuracy,
            sqnr_db=_sqnr_db(signature, answers, references),
            golden=golden,
            golden_max_abs_error=golden_tolerance(golden, wanted if is_derived else {}, precision),
            runtime_versions=versions(face._session, format),
            calibration=calibration_of(signature, collected),
        )
    finally:
        face.close()


def reference_outputs(face: Face, inputs: Mapping[str, Array], name: str) -> dict[str, Array]:
    """The answers to every sample, joined along axis 0.

    Raises:
        InvalidInputError: an answer is not finite or has another shape than the signature's.
    """
    feeds = split(dict(inputs), face.signature.inputs)
    answers = [_checked(face, feed, name) for feed in feeds]
    return {spec.name: _joined([answer[spec.name] for answer in answers]) for spec in face.signature.outputs}


def calibration_of(signature: Signature, answers: Answers) -> Calibration | None:
    """Temperature scaling of class scores, on the samples that judge: the model was not trained on them."""
    if answers.labels is None or not are_class_scores(signature, answers):
        return None
    scores = next(iter(answers.outputs.values()))
    return calibrate(scores, answers.labels) if scores.dtype.kind == "f" else None


def golden_indices(count: int, labels: Array | None) -> list[int]:
    """Which samples become golden: one of each class in turn, else evenly spread."""
    wanted = min(GOLDEN_COUNT, count)
    if labels is None or labels.dtype.kind not in "iu" or len(labels) != count:
        return [round(index * (count - 1) / max(1, wanted - 1)) for index in range(wanted)]
    by_class = [list(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    chosen: list[int] = []
    while len(chosen) < wanted:
        chosen += [int(indices.pop(0)) for indices in by_class if indices][: wanted - len(chosen)]
    return sorted(chosen)


def golden_tolerance(golden: Mapping[str, Array], wanted: Mapping[str, Array], precision: str) -> float:
    """The greatest absolute error that a self-test lets pass.

    Another CPU's kernels round differently, at most about as far as the variant already is from its baseline (the
    answers in ``wanted``, by output name); a corrupted file is off by the order of the outputs' whole range. So: twice
    the variant's own greatest error on the golden inputs, at least 0.5 % of the range (2 % for fp16, 4 % for bf16, 5 %
    when quantized), at most 25 % of it.
    """
    tolerance = _SMALLEST_TOLERANCE
    for key, answers in golden.items():
        if not key.startswith("out_"):
            continue
        found = answers.astype(np.float64).reshape(-1)
        size = float(found.max() - found.min()) or 0.01 * float(np.abs(found).max())
        reference = wanted.get(key.removeprefix("out_"))
        own = (
            0.0
            if reference is None
            else _TIMES_OWN_ERROR * float(np.abs(found - reference.astype(np.float64).reshape(-1)).max())
        )
        floor = _FLOOR_OF_RANGE.get(precision, _FLOOR_OF_QUANTIZED) * size
        tolerance = max(tolerance, min(max(own, floor), _CEILING_OF_RANGE * size))
    return tolerance


def _checked(face: Face, feed: Mapping[str, Array], name: str) -> dict[str, Array]:
    answer = face.run(feed)
    for spec in face.signature.outputs:
        values = answer[spec.name]
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InvalidInputError(f"{name}: expected finite outputs, found NaN or infinity in {spec.name!r}")
        if len(values.shape) != len(spec.shape) or any(
            wanted not in (-1, found) for wanted, found in zip(spec.shape, values.shape, strict=True)
        ):
            raise InvalidInputError(
                f"{name}: expected {spec.name!r} of shape {list(spec.shape)}, found {list(values.shape)}"
            )
    return answer


def _golden(signature: Signature, feeds: list[dict[str, Array]], answers: list[dict[str, Array]]) -> dict[str, Array]:
    golden = {f"in_{spec.name}": _joined([feed[spec.name] for feed in feeds]) for spec in signature.inputs}
    golden |= {f"out_{spec.name}": _joined([answer[spec.name] for answer in answers]) for spec in signature.outputs}
    return golden


def _joined(parts: list[Array]) -> Array:
    """Along axis 0; scalars become a row each."""
    return np.concatenate(parts) if parts[0].ndim else np.stack(parts)


def _sqnr_db(signature: Signature, answers: list[dict[str, Array]], references: Mapping[str, Array]) -> float | None:
    """10 log10 of signal power over error power, all float outputs together; None when they are equal."""
    signal = noise = 0.0
    for spec in signature.outputs:
        found = _joined([answer[spec.name] for answer in answers]).astype(np.float64)
        wanted = references[spec.name][: len(found)].astype(np.float64)
        signal += float((wanted**2).sum())
        noise += float(((found - wanted) ** 2).sum())
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
