"""Write a model's held-out samples down as evaluation samples: child side of a search, which ranks points on them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from muster_compression.artifact import ref_of, write_npz
from muster_compression.dataset.load import load_data
from muster_compression.dataset.overlap import check_apart
from muster_compression.dataset.splits import Array, Split
from muster_compression.dataset.training import held_out, is_enough_to_train, training_splits
from muster_compression.evaluation import evaluation_samples
from muster_compression.face import open_face
from muster_compression.importing import EVALUATION_COUNT
from muster_compression.judge import judge, reference_outputs
from muster_compression.orders import Holdout, HoldoutOrder
from muster_compression.own_metric import load_own_metric
from muster_compression.part_of import OnProgress
from muster_compression.pass_cache import split_sha256

FEWEST_SAMPLES = 50  # with fewer, one sample is more than 2 points of accuracy


def do_holdout(order: HoldoutOrder, on_progress: OnProgress) -> Holdout:
    """The samples that ``dataset.training.held_out`` gives, at most 512 of them, with the baseline's own answers.

    Raises:
        InvalidInputError: the data do not fit the model, or samples of two splits are the same.
    """
    manifest = order.parent.manifest
    if not order.parent.data:
        return Holdout(reason="the model came without data")
    on_progress(0.0, "reading the samples to rank on")
    data = load_data(order.parent.data)
    holdout = held_out(data, manifest.signature, manifest.seed)
    samples_sha256 = hashlib.sha256(f"{split_sha256(data.train)} {split_sha256(holdout)}".encode()).hexdigest()
    training = None
    if holdout is not None and is_enough_to_train(data):
        training, _ = training_splits(data, manifest.signature, manifest.seed)
    judging, _ = evaluation_samples(order.parent)
    notes = tuple(check_apart(training, holdout, judging, data.name))
    known = Holdout(samples_sha256=samples_sha256, notes=notes)
    if holdout is None:
        return replace(known, reason="there are no labelled samples apart from those")
    if len(holdout) < FEWEST_SAMPLES:
        reason = f"only {len(holdout)} samples are held out, at least {FEWEST_SAMPLES} are needed"
        return replace(known, reason=reason)
    return _judged(order, holdout.sample(EVALUATION_COUNT, manifest.seed), known, on_progress)


def _judged(order: HoldoutOrder, holdout: Split, known: Holdout, on_progress: OnProgress) -> Holdout:
    """``known`` with the file, and the baseline's figures on it."""
    parent, manifest = order.parent, order.parent.manifest
    signature = manifest.signature
    face = open_face(parent.artifact_path, manifest.format, signature, manifest.binding)
    try:
        references = reference_outputs(face, holdout.inputs, parent.artifact_path.name)
    finally:
        face.close()
    arrays: dict[str, Array] = {f"x_{name}": values for name, values in holdout.inputs.items()}
    arrays |= {f"ref_{name}": values for name, values in references.items()}
    if holdout.labels is not None:
        arrays["y"] = holdout.labels
    path = write_npz(order.out_dir / "holdout.npz", arrays)
    accuracy = judge(
        parent.artifact_path,
        manifest.format,
        signature,
        manifest.binding,
        path,
        manifest.precision,
        lambda done, total: on_progress(done / total, f"judging the baseline: {done} of {total} held-out samples"),
        own_metric=load_own_metric(order.own_metric),
    ).accuracy
    if accuracy.value is None and manifest.accuracy is not None and manifest.accuracy.value is not None:
        reason = f"{signature.metric} has no value on the held-out samples ({accuracy.unavailable_reason})"
        return replace(known, reason=reason)
    ranked = replace(manifest, accuracy=accuracy, evaluation=ref_of(path))
    judged = replace(parent, manifest=ranked, evaluation_path=path, is_ranking=True)
    return replace(known, parent=judged, samples=len(holdout))
