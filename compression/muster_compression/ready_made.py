"""Bind a ready-made file to an existing model: child side of ``variant_of``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from muster_compression.dataset.splits import Split
from muster_compression.exporting import artifact_of
from muster_compression.face import bind, open_artifact
from muster_compression.judge import Judgement, judge
from muster_compression.manifest import Lineage, draft, judged
from muster_compression.orders import Parent, VariantOrder, VariantResult
from muster_compression.part_of import OnProgress, part_of
from muster_protos.errors import InvalidInputError

_HIGHEST_COSINE_DISTANCE = 0.5  # for outputs that are no class scores


def do_variant(order: VariantOrder, on_progress: OnProgress) -> VariantResult:
    """See ``variant_of.variant_of``."""
    parent = order.parent
    if parent.evaluation_path is None:
        raise InvalidInputError(f"{parent.manifest.model_id}: its evaluation samples are needed to compare, found none")
    on_progress(0.0, "checking the file")
    path, format, tools = artifact_of(  # noqa: A001
        order.source, order.out_dir, _samples(parent), order.format, part_of(on_progress, 0.0, 0.3), order.seed
    )
    signature = parent.manifest.signature
    session = open_artifact(path, format)
    binding = bind(session, signature)
    session.close()
    lineage = Lineage(
        parent.manifest.model_id,
        parent.manifest.model_version,
        order.name,
        order.parent_variant_id or parent.manifest.variant_id,
        order.recipe,
        order.seed,
        tools=tools,
    )
    manifest = draft(path, format, signature, binding, lineage)
    final = path.rename(path.with_name(f"{manifest.variant_id}.{format.value}"))
    judgement = judge(
        final,
        format,
        signature,
        binding,
        parent.evaluation_path,
        manifest.precision,
        lambda done, total: on_progress(0.3 + 0.7 * done / total, f"comparing: {done} of {total} samples"),
        is_derived=False,
    )
    if not order.is_forced:
        _refuse_a_stranger(order, judgement)
    golden_path = order.out_dir / f"{manifest.variant_id}.golden.npz"
    manifest = judged(manifest, judgement, golden_path, parent.evaluation_path)
    return VariantResult(replace(manifest, calibration=parent.manifest.calibration), final, golden_path)


def _samples(parent: Parent) -> Split:
    """The evaluation inputs: they give a torch module its shapes."""
    from muster_bench.dataset import columns, load_arrays

    assert parent.evaluation_path is not None
    return Split(columns(load_arrays(parent.evaluation_path), "x_", parent.manifest.signature.inputs))


def _refuse_a_stranger(order: VariantOrder, judgement: Judgement) -> None:
    """Class scores must agree on enough samples; other outputs must point the same way.

    Raises:
        InvalidInputError: they do not; with the figure.
    """
    found = judgement.accuracy
    signature = order.parent.manifest.signature
    way_out = "check that it is the same model and that its inputs are scaled alike, or force it"
    baseline = order.parent.manifest.accuracy
    if baseline is not None and baseline.value is None:
        way_out += " (if the model was imported without real samples, noise may be what they disagree on)"
    if signature.task == "classification":
        if found.agreement is not None and found.agreement < order.min_agreement:
            raise InvalidInputError(
                f"{Path(order.source).name}: expected the baseline's answer on at least {order.min_agreement:.0%} of "
                f"{found.n} samples, found {found.agreement:.1%}; {way_out}"
            )
    elif found.cosine_distance is not None and found.cosine_distance > _HIGHEST_COSINE_DISTANCE:
        raise InvalidInputError(
            f"{Path(order.source).name}: expected outputs like the baseline's (cosine distance at most "
            f"{_HIGHEST_COSINE_DISTANCE}), found {found.cosine_distance:.2f} over {found.n} samples; {way_out}"
        )
