"""Turn a source into a model version: child side of ``import_model``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from muster_bench.generated_inputs import generate
from muster_bench.runtimes import Session
from muster_compression.artifact import ref_of, write_npz
from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.load import load_data
from muster_compression.dataset.splits import Array, DataSet, Split
from muster_compression.exporting import artifact_of
from muster_compression.face import bind, canonical_signature, class_count, open_artifact
from muster_compression.judge import judge, reference_outputs
from muster_compression.manifest import Lineage, draft, judged
from muster_compression.orders import ImportedModel, ImportOrder
from muster_compression.own_metric import OwnMetric, load_own_metric
from muster_compression.part_of import OnProgress, part_of
from muster_compression.sources.kind import SourceKind, kind_of, split_torch
from muster_compression.train_source import check_trainable, train_source
from muster_protos.errors import InvalidInputError, UsageError
from muster_protos.metric_names import BUILT_IN, is_regression_metric
from muster_protos.model import Binding, Format, Signature

EVALUATION_COUNT = 512
CALIBRATION_COUNT = 256
_GENERATED_COUNT = 64
_FEWEST_CLASSES = 2


def do_import(order: ImportOrder, on_progress: OnProgress) -> ImportedModel:
    """See ``import_model.import_model``."""
    on_progress(0.0, "reading")
    data = load_data(order.data) if order.data else None
    if order.train_epochs:
        check_trainable(order, data)
    samples = None if data is None else data.judging()
    is_untrained = order.train_epochs > 0
    path, format, tools = artifact_of(  # noqa: A001
        order.source, order.out_dir, samples, "", part_of(on_progress, 0.0, 0.1), order.seed, is_untrained
    )
    on_progress(0.1, "reading the signature")
    session = open_artifact(path, format)
    labels = None if samples is None else samples.labels
    signature = canonical_signature(session, format, order.labels, "")
    own = load_own_metric(order.own_metric)
    signature = _with_metric(signature, order.metric, labels, own)
    if data is not None and data.train is not None:
        _check_training_classes(signature, data.train.labels, data.name)
    notes = list(_notes(signature, data, labels))
    if is_untrained and data is not None:
        session.close()
        judging = _judging(data, signature, order.seed)
        notes += train_source(order, data, judging, signature, path, part_of(on_progress, 0.1, 0.5))
        session = open_artifact(path, format)
    binding = bind(session, signature)
    evaluation_path = order.out_dir / f"{order.name}.v{order.version}.evaluation.npz"
    _write_evaluation(evaluation_path, path, format, signature, binding, session, data, order.seed)
    calibration_path = _write_calibration(order, signature, data)
    lineage = Lineage(order.name, order.version, "baseline", seed=order.seed, tools=tools)
    manifest = draft(path, format, signature, binding, lineage)
    manifest = draft(path, format, signature, binding, replace(lineage, name=manifest.precision or "baseline"))
    final = path.rename(path.with_name(f"{manifest.variant_id}.{format.value}"))
    on_progress(0.6, "judging the baseline")
    judgement = judge(
        final,
        format,
        signature,
        binding,
        evaluation_path,
        manifest.precision,
        lambda done, total: on_progress(0.6 + 0.4 * done / total, f"judging the baseline: {done} of {total} samples"),
        own_metric=own,
    )
    if judgement.calibration is not None and judgement.calibration.note:
        notes.append(judgement.calibration.note)
    golden_path = order.out_dir / f"{manifest.variant_id}.golden.npz"
    manifest = judged(manifest, judgement, golden_path, evaluation_path)
    if calibration_path is not None:
        manifest = replace(manifest, calibration=ref_of(calibration_path))
    return ImportedModel(
        signature=signature,
        manifest=manifest,
        artifact_path=final,
        golden_path=golden_path,
        evaluation_path=evaluation_path,
        calibration_path=calibration_path,
        is_labelled=labels is not None,
        source=_shown(order.source),
        notes=tuple(notes),
        torch_source="" if kind_of(order.source) is SourceKind.FILE else order.source,
        train_epochs=order.train_epochs,
        data=order.data,
    )


def _with_metric(signature: Signature, asked: str, labels: Array | None, own: OwnMetric | None) -> Signature:
    """The metric follows from the labels and the outputs unless it was asked for."""
    if asked not in ("", *BUILT_IN):
        raise UsageError(f"expected a metric of {', '.join(BUILT_IN)} or file.py:function, found {asked!r}")
    if labels is None:
        if asked or own is not None:
            wanted = asked if own is None else own.source
            raise InvalidInputError(f"expected labels for the metric {wanted!r}, found none; add y_val to the data")
        return replace(signature, metric="")
    if own is not None:
        return replace(signature, metric=own.name)
    metric = asked or _metric_of(signature, labels)
    if metric == "accuracy":
        _check_classes(signature, labels)
    if metric == "auc":
        _check_two_classes(labels)
    task = "classification" if metric == "accuracy" else signature.task
    task = "regression" if is_regression_metric(metric) else task
    return replace(signature, metric=metric, task=task)


def _metric_of(signature: Signature, labels: Array) -> str:
    if labels.dtype.kind == "f" and bool((labels.astype(np.float64) % 1).any()):
        return "mae"
    if signature.task == "classification":
        return "accuracy"
    is_binary = set(np.unique(labels).tolist()) <= {0, 1}
    return "auc" if is_binary else "mae"


def _check_classes(signature: Signature, labels: Array) -> None:
    """Labels must be classes that the model has, and more than one of them."""
    classes = class_count(signature.outputs[0])
    found = np.unique(labels)
    if len(found) < _FEWEST_CLASSES:
        raise InvalidInputError(f"expected labels of at least 2 classes, found only {found.tolist()}")
    if classes > 1 and (found.min() < 0 or found.max() >= classes):
        raise InvalidInputError(
            f"expected labels 0 to {classes - 1} as the model has {classes} classes, "
            f"found {found.min()} to {found.max()}"
        )


def _check_training_classes(signature: Signature, labels: Array | None, name: str) -> None:
    """Of classes that the model has, whether or not anything trains on them."""
    classes = class_count(signature.outputs[0])
    if labels is None or signature.metric != "accuracy" or classes <= 1 or not len(labels):
        return
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidInputError(
            f"{name}: expected y_train of 0 to {classes - 1} as the model has {classes} classes, "
            f"found {labels.min()} to {labels.max()}"
        )


def _check_two_classes(labels: Array) -> None:
    found = np.unique(labels).tolist()
    if found not in ([0, 1], [False, True]):
        raise InvalidInputError(f"expected labels 0 and 1, both of them, for the metric 'auc', found {found[:5]}")


def _notes(signature: Signature, data: DataSet | None, labels: Array | None) -> list[str]:
    notes = []
    if data is None:
        notes.append("no data: inputs were generated, so only agreement is known, no accuracy")
    elif labels is None:
        notes.append("no labels: agreement is known, accuracy is not")
    if data is not None and data.train is None:
        notes.append("no training samples: static quantization will calibrate on the samples that judge")
    if signature.layout:
        notes.append(f"layout {signature.layout}, decided from the input's shape")
    return notes


def _write_evaluation(
    path: Path,
    artifact: Path,
    format: Format,  # noqa: A002
    signature: Signature,
    binding: Binding,
    session: Session,
    data: DataSet | None,
    seed: int,
) -> None:
    """Inputs, labels when there are any, and the baseline's own answers."""
    from muster_bench.face import Face

    split = Split(_generated(session, signature, seed)) if data is None else _judging(data, signature, seed)
    references = reference_outputs(Face(session, signature, binding), split.inputs, artifact.name)
    arrays: dict[str, Array] = {f"x_{name}": values for name, values in split.inputs.items()}
    arrays |= {f"ref_{name}": values for name, values in references.items()}
    if split.labels is not None:
        arrays["y"] = split.labels
    write_npz(path, arrays)
    del format


def _judging(data: DataSet, signature: Signature, seed: int) -> Split:
    """The samples that judge every variant of the model, in canonical tensors."""
    return fit_samples(data.judging().sample(EVALUATION_COUNT, seed), signature, data.name)


def _generated(session: Session, signature: Signature, seed: int) -> dict[str, Array]:
    """Seeded noise; for a quantized input spread over the range that it can express."""
    feeds = [generate(signature.inputs, seed * _GENERATED_COUNT + index) for index in range(_GENERATED_COUNT)]
    joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    for own, spec in zip(session.inputs, signature.inputs, strict=True):
        known = session.quantization.get(own.name)
        if known is not None and own.dtype in ("int8", "uint8"):
            limits = np.iinfo(np.dtype(own.dtype))
            low, high = ((limit - known.zero_point) * known.scale for limit in (limits.min, limits.max))
            joined[spec.name] = (low + joined[spec.name] * (high - low)).astype(np.float32)
    return joined


def _write_calibration(order: ImportOrder, signature: Signature, data: DataSet | None) -> Path | None:
    """Training samples without labels: what static quantization measures its ranges on."""
    if data is None or data.train is None:
        return None
    split = fit_samples(data.train.sample(CALIBRATION_COUNT, order.seed), signature, data.name)
    path = order.out_dir / f"{order.name}.v{order.version}.calibration.npz"
    return write_npz(path, {f"x_{name}": values for name, values in split.inputs.items()})


def _shown(source: str) -> str:
    """What the user handed in, without its folder."""
    named = split_torch(source)
    return f"{named[0].name}:{named[1]}" if named else Path(source).name
