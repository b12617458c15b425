"""Make one variant: its chain, then its manifest, golden answers and files."""

from __future__ import annotations

import errno
import tempfile
from dataclasses import replace
from pathlib import Path

from muster_compression.chain import ENDS_A_VARIANT, Branch, Chain, EndedError, run_chain
from muster_compression.latency import host_latency
from muster_compression.manifest import Lineage, draft, judged
from muster_compression.orders import VariantResult
from muster_compression.part_of import OnProgress
from muster_compression.pass_cache import identity_of
from muster_compression.passes.port import Form, PassRecord, WorkingModel
from muster_compression.recipe import BASELINE, VariantRecipe
from muster_compression.setting import Setting
from muster_protos.model import Format

_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
"""What says nothing of a variant: no room, a broken or read-only disk, no descriptors, no memory."""


def make_variant(
    setting: Setting, variant: VariantRecipe, branches: dict[str, Branch], on_progress: OnProgress
) -> VariantResult:
    """One variant: its passes, each gated, then its manifest and golden answers; it joins the branches when kept.

    Raises:
        EndedError: a pass cannot take the model or changed nothing, a torch form missed the floor, or its files cannot
            be written where others can.
        OSError: the machine is at fault (a full disk); another variant would fare no better.
    """
    with tempfile.TemporaryDirectory(dir=setting.order.out_dir, prefix="scratch-") as scratch:
        chain = run_chain(setting, variant, branches, Path(scratch), on_progress)
        result = _finished(setting, variant, chain)
        if result.is_kept:
            torch = None if chain.torch is None else _kept(setting, chain.torch)
            branches[variant.name] = Branch(
                WorkingModel(result.artifact_path, Form(result.manifest.format.value)), torch
            )
        return result


def _kept(setting: Setting, model: WorkingModel) -> WorkingModel:
    """A torch form where it outlives its variant's scratch folder; the parent's own is there already."""
    if model.path.is_relative_to(setting.folder):
        return model
    path = setting.folder / f"{identity_of(model)}.torch"
    return replace(model, path=model.path.replace(path))


def _finished(setting: Setting, variant: VariantRecipe, chain: Chain) -> VariantResult:
    """Its files, or none of them: what fails here ends this variant and no other, unless the machine fails."""
    try:
        return _finish(setting, variant, chain)
    except ENDS_A_VARIANT as error:
        raise EndedError(f"its files could not be made: {error}", chain.steps) from error
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            raise
        raise EndedError(f"its files could not be written: {error.strerror or error}", chain.steps) from error


def _finish(setting: Setting, variant: VariantRecipe, chain: Chain) -> VariantResult:
    """Manifest, golden answers and files of a finished (or dropped) variant."""
    gated, baseline = chain.gated, setting.baseline
    assert gated.binding is not None
    assert gated.judgement is not None
    format = Format(gated.model.form.value)  # noqa: A001
    lineage = _lineage(setting, variant, chain.records)
    manifest = draft(gated.model.path, format, baseline.signature, gated.binding, lineage)
    folder = setting.order.out_dir
    final = folder / f"{manifest.variant_id}.{format.value}"
    final.write_bytes(gated.model.path.read_bytes())
    golden_path = folder / f"{manifest.variant_id}.golden.npz"
    manifest = judged(manifest, gated.judgement, golden_path, setting.evaluation_path)
    if gated.judgement.calibration is not None and gated.judgement.calibration.note:
        setting.notes.append(f"{variant.name}: {gated.judgement.calibration.note}")
    if any(record.calibration_count for record in chain.records):
        manifest = replace(manifest, calibration=setting.calibration_ref)
    latency, unavailable = None, "not asked for"
    if setting.order.measure_latency:
        latency, unavailable = host_latency(final, manifest, setting.evaluation_path)
    reason = gated.dropped_reason
    return VariantResult(manifest, final, golden_path, not reason, reason, latency, unavailable, chain.steps)


def _lineage(setting: Setting, variant: VariantRecipe, records: tuple[PassRecord, ...]) -> Lineage:
    baseline = setting.baseline
    parent_id = baseline.variant_id
    if variant.parent != BASELINE:
        parent_id = parent_id.rsplit(".v", 1)[0] + f".v{baseline.model_version}.{variant.parent}"
    hints = {record.target_hint for record in records} - {"any"}
    return Lineage(
        baseline.model_id,
        baseline.model_version,
        variant.name,
        parent_id,
        setting.recipe.name,
        setting.around.seed,
        next(iter(hints), "any"),
        tuple(sorted({tool for record in records for tool in record.tools})),
    )
