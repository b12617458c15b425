"""Run a recipe: child side of ``run_recipe``. Each variant is a chain of passes with a gate after each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from muster_bench.dataset import columns, load_arrays
from muster_bench.errors import FaceError, ModelLoadError
from muster_compression.applying import Applied, Surroundings, apply_pass, threads_of
from muster_compression.artifact import ref_of
from muster_compression.cache import cache_dir
from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.load import load_data
from muster_compression.dataset.splits import Array, DataSet
from muster_compression.dataset.training import training_splits
from muster_compression.floor import check_reachable, parse_floor
from muster_compression.gate import Gated, GateRules, gate
from muster_compression.latency import host_latency
from muster_compression.manifest import Lineage, draft, judged
from muster_compression.orders import FailedVariant, RecipeOrder, RecipeResult, StepResult, VariantResult
from muster_compression.own_metric import check_metric_is_there, load_own_metric
from muster_compression.pass_cache import PassCache, SampleHashes, identity_of, samples_sha256, split_sha256
from muster_compression.passes.port import Form, PassError, PassRecord, WorkingModel
from muster_compression.process import OnProgress, part_of
from muster_compression.recipe import BASELINE, Recipe, VariantRecipe, load_recipe
from muster_protos.errors import InvalidInputError, MissingExtraError, NotFoundError
from muster_protos.model import ArtifactRef, Format, VariantManifest

_MAKING_SHARE = 0.9  # of a pass's progress; the rest is the gate


@dataclass(frozen=True, slots=True)
class _Setting:
    """What stays the same over all variants of one run."""

    order: RecipeOrder
    recipe: Recipe
    baseline: VariantManifest
    evaluation_path: Path
    calibration_ref: ArtifactRef | None
    around: Surroundings
    rules: GateRules
    folder: Path  # for models that others start from
    gated: dict[str, Gated] = field(default_factory=dict)  # torch forms that were judged, by identity


@dataclass(frozen=True, slots=True)
class _Branch:
    """What later variants may start from."""

    file: WorkingModel
    torch: WorkingModel | None


@dataclass(frozen=True, slots=True)
class _Chain:
    """A variant as far as it came."""

    gated: Gated
    records: tuple[PassRecord, ...]
    steps: tuple[StepResult, ...]
    torch: WorkingModel | None  # its last torch form


class _EndedError(PassError):
    """A chain that leaves no file: a pass fails, or a torch form misses the floor."""

    def __init__(self, message: str, steps: tuple[StepResult, ...]) -> None:
        super().__init__(message)
        self.steps = steps


def do_recipe(order: RecipeOrder, on_progress: OnProgress) -> RecipeResult:
    """See ``run_recipe.run_recipe``."""
    recipe = load_recipe(order.recipe)
    with tempfile.TemporaryDirectory(dir=order.out_dir, prefix="models-") as folder:
        return _run(order, recipe, Path(folder), on_progress)


def _run(order: RecipeOrder, recipe: Recipe, folder: Path, on_progress: OnProgress) -> RecipeResult:
    chosen = _chosen(order, recipe)
    sees_samples = any(step.spec.sees_samples for item in chosen for step in item.passes)
    setting, notes = _prepare(order, recipe, folder, sees_samples)
    branches = {BASELINE: _baseline(setting, chosen, part_of(on_progress, 0.0, 0.05, BASELINE))}
    made: list[VariantResult] = []
    failed: list[FailedVariant] = []
    missing = 0
    for index, variant in enumerate(chosen):
        step = part_of(on_progress, 0.05 + 0.94 * index / len(chosen), 0.94 / len(chosen), variant.name)
        try:
            result = _make(setting, variant, branches, step)
        except _EndedError as error:
            failed.append(FailedVariant(variant.name, str(error), error.steps))
            missing += isinstance(error.__cause__, MissingExtraError)
        else:
            made.append(result)
    if not made:
        kind = MissingExtraError if missing == len(failed) else InvalidInputError
        raise kind("; ".join(f"{item.name}: {item.reason}" for item in failed))
    latency, unavailable = None, "not asked for"
    if order.measure_latency:
        on_progress(0.99, "measuring the baseline on this host")
        latency, unavailable = host_latency(order.parent.artifact_path, setting.baseline, setting.evaluation_path)
    return RecipeResult(tuple(made), tuple(failed), tuple(notes), latency, unavailable)


def _chosen(order: RecipeOrder, recipe: Recipe) -> list[VariantRecipe]:
    """Without those that start from a file of another format than the baseline has.

    Raises:
        InvalidInputError: none is left, or all that are left start from a torch module that is not there.
    """
    format = order.parent.manifest.format.value  # noqa: A001
    chosen: list[VariantRecipe] = []
    for item in recipe.variants:
        is_here = item.is_from_torch or format in item.formats
        if is_here if item.parent == BASELINE else any(other.name == item.parent for other in chosen):
            chosen.append(item)
    if not chosen:
        raise InvalidInputError(f"recipe {recipe.name} has nothing for {format} models")
    if not order.parent.torch_source and all(item.is_from_torch for item in chosen if item.parent == BASELINE):
        raise InvalidInputError(f"recipe {recipe.name}: {_NO_TORCH}")
    return chosen


_NO_TORCH = (
    "starts from a torch module, and only the model's file is known; name its source as well (--model net.py:make), "
    "or take a recipe of post-training passes such as quick"
)


def _prepare(order: RecipeOrder, recipe: Recipe, folder: Path, sees_samples: bool) -> tuple[_Setting, list[str]]:
    parent = order.parent
    manifest = parent.manifest
    if parent.evaluation_path is None or manifest.accuracy is None:
        raise InvalidInputError(f"{manifest.model_id}: expected an imported model with evaluation samples")
    floor = parse_floor(order.floor or recipe.floor)
    check_reachable(floor, manifest.accuracy)
    own_metric = load_own_metric(order.own_metric)
    check_metric_is_there(manifest.signature, own_metric)
    named = order.data or (parent.data if sees_samples else "")
    data = load_data(named) if named else None
    calibration, ref, notes = _calibration(order, data if order.data else None)
    seed = order.seed or recipe.seed
    training, holdout = training_splits(data, manifest.signature, seed) if data and sees_samples else (None, None)
    threads = threads_of(order.threads)
    hashes = SampleHashes(samples_sha256(calibration), split_sha256(training), split_sha256(holdout))
    cache = PassCache(order.cache_dir or cache_dir())
    around = Surroundings(manifest.signature, calibration, training, holdout, hashes, seed, threads, cache)
    rules = GateRules(manifest.signature, parent.evaluation_path, floor, manifest.accuracy, own_metric, threads)
    return _Setting(order, recipe, manifest, parent.evaluation_path, ref, around, rules, folder), notes


def _calibration(order: RecipeOrder, data: DataSet | None) -> tuple[dict[str, Array], ArtifactRef | None, list[str]]:
    """Training samples: of the data named now, else of the import; the evaluation inputs only when there are none."""
    parent = order.parent
    inputs = parent.manifest.signature.inputs
    if data is not None and data.train is not None:
        return dict(fit_samples(data.train, parent.manifest.signature, data.name).inputs), None, []
    if parent.calibration_path is not None:
        return columns(load_arrays(parent.calibration_path), "x_", inputs), parent.manifest.calibration, []
    assert parent.evaluation_path is not None
    note = "calibrated on the evaluation inputs (without labels): the model came without training samples"
    return columns(load_arrays(parent.evaluation_path), "x_", inputs), ref_of(parent.evaluation_path), [note]


def _baseline(setting: _Setting, chosen: list[VariantRecipe], on_progress: OnProgress) -> _Branch:
    """The baseline's file, and its torch form when a variant starts from that."""
    parent = setting.order.parent
    file = WorkingModel(parent.artifact_path, Form(parent.manifest.format.value))
    if not parent.torch_source or not any(item.is_from_torch for item in chosen):
        return _Branch(file, None)
    from muster_compression.torch_origin import torch_baseline

    around = setting.around
    return _Branch(file, torch_baseline(parent, around.cache, around.threads, setting.folder, on_progress))


def _make(
    setting: _Setting, variant: VariantRecipe, branches: dict[str, _Branch], on_progress: OnProgress
) -> VariantResult:
    """One variant: its passes, each gated, then its manifest and golden answers; it joins the branches when kept.

    Raises:
        _EndedError: a pass cannot take the model or changed nothing, or a torch form missed the floor.
    """
    with tempfile.TemporaryDirectory(dir=setting.order.out_dir, prefix="scratch-") as scratch:
        chain = _chain(setting, variant, branches, Path(scratch), on_progress)
        result = _finish(setting, variant, chain)
        if result.is_kept:
            torch = None if chain.torch is None else _kept(setting, chain.torch)
            branches[variant.name] = _Branch(
                WorkingModel(result.artifact_path, Form(result.manifest.format.value)), torch
            )
        return result


def _kept(setting: _Setting, model: WorkingModel) -> WorkingModel:
    """A torch form where it outlives its variant's scratch folder; the parent's own is there already."""
    if model.path.is_relative_to(setting.folder):
        return model
    path = setting.folder / f"{identity_of(model)}.torch"
    return replace(model, path=model.path.replace(path))


def _start(variant: VariantRecipe, branches: Mapping[str, _Branch]) -> WorkingModel:
    """What the first pass gets.

    Raises:
        PassError: the parent is not there, or has no torch form.
    """
    if variant.parent not in branches:
        raise PassError(f"its parent {variant.parent} was dropped or could not be made")
    branch = branches[variant.parent]
    if not variant.is_from_torch:
        return branch.file
    if branch.torch is None:
        raise PassError(_NO_TORCH)
    return branch.torch


def _chain(
    setting: _Setting, variant: VariantRecipe, branches: Mapping[str, _Branch], scratch: Path, on_progress: OnProgress
) -> _Chain:
    """The passes in their order, up to the first miss of the floor.

    Raises:
        _EndedError: there is no file to show for it.
    """
    steps: list[StepResult] = []
    try:
        return _passes(setting, variant, branches, scratch, steps, on_progress)
    except (PassError, FaceError, ModelLoadError, MissingExtraError, InvalidInputError, NotFoundError) as error:
        raise _EndedError(str(error), tuple(steps)) from error


def _passes(
    setting: _Setting,
    variant: VariantRecipe,
    branches: Mapping[str, _Branch],
    scratch: Path,
    steps: list[StepResult],
    on_progress: OnProgress,
) -> _Chain:
    """Apply and judge; ``steps`` grows as far as it comes."""
    model = _start(variant, branches)
    torch = model if model.form is Form.TORCH else None
    records: list[PassRecord] = []
    share = 1 / len(variant.passes)
    for index, step in enumerate(variant.passes):
        folder = scratch / str(index)
        folder.mkdir()
        inner = part_of(on_progress, index * share, share, step.name)
        others = _others(branches, is_torch=Form.TORCH in step.spec.takes)
        applied = apply_pass(setting.around, step, model, folder, others, part_of(inner, 0.0, _MAKING_SHARE))
        model = applied.output.model
        torch = model if model.form is Form.TORCH else torch
        records.append(applied.output.record)
        is_last = index == len(variant.passes) - 1
        gated = None
        if is_last or not step.spec.is_lossless:
            gated = _gate(setting, model, part_of(inner, _MAKING_SHARE, 1 - _MAKING_SHARE))
        steps.append(_step_result(applied, gated))
        if gated is not None and gated.dropped_reason and model.form is Form.TORCH:
            raise PassError(f"dropped after {step.name}: {gated.dropped_reason}")
        if gated is not None and (is_last or gated.dropped_reason):
            return _Chain(gated, tuple(records), tuple(steps), torch)
    raise AssertionError("a recipe has at least one pass, and the last one is always judged")


def _others(branches: Mapping[str, _Branch], is_torch: bool) -> dict[str, WorkingModel]:
    """Finished variants as a pass may use them: as torch forms or as files."""
    if not is_torch:
        return {name: branch.file for name, branch in branches.items()}
    return {name: branch.torch for name, branch in branches.items() if branch.torch is not None}


def _gate(setting: _Setting, model: WorkingModel, on_progress: OnProgress) -> Gated:
    """The gate; a torch form that several variants go through is judged once."""
    if model.form is not Form.TORCH:
        return gate(setting.rules, model, on_progress)
    key = identity_of(model)
    if key not in setting.gated:
        setting.gated[key] = gate(setting.rules, model, on_progress)
    return setting.gated[key]


def _step_result(applied: Applied, gated: Gated | None) -> StepResult:
    record = applied.output.record
    return StepResult(
        record.pass_name,
        record.effect,
        record.figures,
        applied.wall_s,
        applied.is_cached,
        None if gated is None else gated.accuracy,
        "" if gated is None else gated.dropped_reason,
        record.sensitivities,
    )


def _finish(setting: _Setting, variant: VariantRecipe, chain: _Chain) -> VariantResult:
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
    if any(record.calibration_count for record in chain.records):
        manifest = replace(manifest, calibration=setting.calibration_ref)
    latency, unavailable = None, "not asked for"
    if setting.order.measure_latency:
        latency, unavailable = host_latency(final, manifest, setting.evaluation_path)
    reason = gated.dropped_reason
    return VariantResult(manifest, final, golden_path, not reason, reason, latency, unavailable, chain.steps)


def _lineage(setting: _Setting, variant: VariantRecipe, records: tuple[PassRecord, ...]) -> Lineage:
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
