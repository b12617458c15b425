"""Run a recipe: child side of ``run_recipe``. Each variant is a chain of passes with a gate after each."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from muster_bench.dataset import columns, load_arrays
from muster_bench.errors import FaceError, ModelLoadError
from muster_compression.artifact import ref_of
from muster_compression.cache import cache_dir
from muster_compression.checking import checked_format
from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.load import load_data
from muster_compression.dataset.splits import Array
from muster_compression.face import bind, open_artifact
from muster_compression.floor import Floor, check_reachable, missed, parse_floor
from muster_compression.judge import Judgement, judge
from muster_compression.latency import host_latency
from muster_compression.manifest import Lineage, draft, judged
from muster_compression.orders import FailedVariant, RecipeOrder, RecipeResult, VariantResult
from muster_compression.own_metric import OwnMetric, check_metric_is_there, load_own_metric
from muster_compression.pass_cache import PassCache, pass_key, samples_sha256
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, WorkingModel
from muster_compression.process import OnProgress, part_of
from muster_compression.recipe import BASELINE, Recipe, Step, VariantRecipe, load_recipe
from muster_protos.errors import InvalidInputError
from muster_protos.model import Accuracy, ArtifactRef, Binding, Format, Signature, VariantManifest


@dataclass(frozen=True, slots=True)
class _Setting:
    """What stays the same over all variants of one run."""

    order: RecipeOrder
    recipe: Recipe
    floor: Floor | None
    baseline: VariantManifest
    baseline_accuracy: Accuracy
    evaluation_path: Path
    calibration: dict[str, Array]
    calibration_ref: ArtifactRef | None
    cache: PassCache
    samples_sha256: str
    own_metric: OwnMetric | None = None

    @property
    def signature(self) -> Signature:
        return self.baseline.signature

    @property
    def seed(self) -> int:
        return self.order.seed or self.recipe.seed


@dataclass(frozen=True, slots=True)
class _Gated:
    """A model that passed the gate, or the reason why not, with its figures."""

    model: WorkingModel
    binding: Binding
    judgement: Judgement
    dropped_reason: str


def do_recipe(order: RecipeOrder, on_progress: OnProgress) -> RecipeResult:
    """See ``run_recipe.run_recipe``."""
    recipe = load_recipe(order.recipe)
    setting, notes = _prepare(order, recipe)
    chosen = [item for item in recipe.variants if setting.baseline.format.value in item.formats]
    if not chosen:
        raise InvalidInputError(f"recipe {recipe.name} has nothing for {setting.baseline.format.value} models")
    made: list[VariantResult] = []
    failed: list[FailedVariant] = []
    branches = {BASELINE: WorkingModel(order.parent.artifact_path, Form(setting.baseline.format.value))}
    for index, variant in enumerate(chosen):
        step = part_of(on_progress, index / len(chosen), 1 / len(chosen), variant.name)
        try:
            result = _make(setting, variant, branches, step)
        except (PassError, FaceError, ModelLoadError) as error:
            failed.append(FailedVariant(variant.name, str(error)))
            continue
        made.append(result)
        if result.is_kept:
            branches[variant.name] = WorkingModel(result.artifact_path, Form(result.manifest.format.value))
    if not made:
        raise InvalidInputError("; ".join(f"{item.name}: {item.reason}" for item in failed))
    latency, unavailable = None, "not asked for"
    if order.measure_latency:
        on_progress(0.99, "measuring the baseline on this host")
        latency, unavailable = host_latency(order.parent.artifact_path, setting.baseline, setting.evaluation_path)
    return RecipeResult(tuple(made), tuple(failed), tuple(notes), latency, unavailable)


def _prepare(order: RecipeOrder, recipe: Recipe) -> tuple[_Setting, list[str]]:
    parent = order.parent
    if parent.evaluation_path is None or parent.manifest.accuracy is None:
        raise InvalidInputError(f"{parent.manifest.model_id}: expected an imported model with evaluation samples")
    floor = parse_floor(order.floor or recipe.floor)
    check_reachable(floor, parent.manifest.accuracy)
    own_metric = load_own_metric(order.own_metric)
    check_metric_is_there(parent.manifest.signature, own_metric)
    calibration, ref, notes = _calibration(order)
    setting = _Setting(
        order=order,
        recipe=recipe,
        floor=floor,
        baseline=parent.manifest,
        baseline_accuracy=parent.manifest.accuracy,
        evaluation_path=parent.evaluation_path,
        calibration=calibration,
        calibration_ref=ref,
        cache=PassCache(order.cache_dir or cache_dir()),
        samples_sha256=samples_sha256(calibration),
        own_metric=own_metric,
    )
    return setting, notes


def _calibration(order: RecipeOrder) -> tuple[dict[str, Array], ArtifactRef | None, list[str]]:
    """Training samples: of the data named now, else of the import; the evaluation inputs only when there are none."""
    parent = order.parent
    inputs = parent.manifest.signature.inputs
    if order.data:
        data = load_data(order.data)
        if data.train is not None:
            return dict(fit_samples(data.train, parent.manifest.signature, data.name).inputs), None, []
    if parent.calibration_path is not None:
        return columns(load_arrays(parent.calibration_path), "x_", inputs), parent.manifest.calibration, []
    assert parent.evaluation_path is not None
    note = "calibrated on the evaluation inputs (without labels): the model came without training samples"
    return columns(load_arrays(parent.evaluation_path), "x_", inputs), ref_of(parent.evaluation_path), [note]


def _make(
    setting: _Setting, variant: VariantRecipe, branches: dict[str, WorkingModel], on_progress: OnProgress
) -> VariantResult:
    """One variant: its passes, each gated, then its manifest and golden answers.

    Raises:
        PassError: a pass cannot take the model or changed nothing.
    """
    if variant.parent not in branches:
        raise PassError(f"its parent {variant.parent} was dropped or could not be made")
    model = branches[variant.parent]
    records: list[PassRecord] = []
    gated: _Gated | None = None
    with tempfile.TemporaryDirectory(dir=setting.order.out_dir, prefix="scratch-") as scratch:
        for index, step in enumerate(variant.passes):
            share = 1 / len(variant.passes)
            folder = Path(scratch) / str(index)
            folder.mkdir()
            inner = part_of(on_progress, index * share, share, step.name)
            output = _apply(setting, step, model, folder, branches, inner)
            records.append(output.record)
            model = output.model
            is_last = index == len(variant.passes) - 1
            if is_last or (setting.floor is not None and not step.spec.is_lossless):
                gated = _gate(setting, model, inner)
                if gated.dropped_reason:
                    break
        assert gated is not None
        return _finish(setting, variant, gated, records)


def _apply(
    setting: _Setting,
    step: Step,
    model: WorkingModel,
    folder: Path,
    branches: dict[str, WorkingModel],
    on_progress: OnProgress,
) -> PassOutput:
    spec, settings = step.spec, step.parsed()
    if model.form not in spec.takes:
        takes = " or ".join(sorted(form.value for form in spec.takes))
        raise PassError(f"{spec.name} takes {takes} models, found {model.form.value}")
    key = pass_key(model, spec, settings, setting.samples_sha256, setting.seed)
    cached = setting.cache.get(key, spec, folder / f"cached.{spec.gives.value}")
    if cached is not None:
        on_progress(0.5, "from the cache")
        return cached
    context = PassContext(
        folder=folder,
        signature=setting.signature,
        calibration=setting.calibration,
        seed=setting.seed,
        on_progress=lambda ratio, note: on_progress(0.5 * ratio, note),
        branches=branches,
    )
    output = spec.function(model, settings, context)
    if not spec.is_lossless and ref_of(output.model.path).sha256 == ref_of(model.path).sha256:
        raise PassError(f"{spec.name} changed nothing")
    setting.cache.put(key, output)
    return output


def _gate(setting: _Setting, model: WorkingModel, on_progress: OnProgress) -> _Gated:
    """Executable, finite outputs of the right shape, then the floor."""
    try:
        format = checked_format(model.path, "the result")  # noqa: A001
    except InvalidInputError as error:
        raise PassError(str(error)) from error
    session = open_artifact(model.path, format)
    binding = bind(session, setting.signature)
    session.close()
    try:
        judgement = judge(
            model.path,
            format,
            setting.signature,
            binding,
            setting.evaluation_path,
            _precision(model),
            lambda done, total: on_progress(0.5 + 0.5 * done / total, f"judging: {done} of {total} samples"),
            own_metric=setting.own_metric,
        )
    except InvalidInputError as error:
        raise PassError(str(error)) from error
    reason = "" if setting.floor is None else missed(setting.floor, judgement.accuracy, setting.baseline_accuracy)
    return _Gated(model, binding, judgement, reason)


def _finish(setting: _Setting, variant: VariantRecipe, gated: _Gated, records: list[PassRecord]) -> VariantResult:
    """Manifest, golden answers and files of a finished (or dropped) variant."""
    baseline = setting.baseline
    parent_id = baseline.variant_id
    if variant.parent != BASELINE:
        parent_id = parent_id.rsplit(".v", 1)[0] + f".v{baseline.model_version}.{variant.parent}"
    hints = {record.target_hint for record in records} - {"any"}
    lineage = Lineage(
        baseline.model_id,
        baseline.model_version,
        variant.name,
        parent_id,
        setting.recipe.name,
        setting.seed,
        next(iter(hints), "any"),
        tuple(sorted({tool for record in records for tool in record.tools})),
    )
    format = Format(gated.model.form.value)  # noqa: A001
    manifest = draft(gated.model.path, format, setting.signature, gated.binding, lineage)
    folder = setting.order.out_dir
    final = folder / f"{manifest.variant_id}.{format.value}"
    final.write_bytes(gated.model.path.read_bytes())
    golden_path = folder / f"{manifest.variant_id}.golden.npz"
    manifest = judged(manifest, gated.judgement, golden_path, setting.evaluation_path)
    if any(record.calibration_count for record in records):
        manifest = replace(manifest, calibration=setting.calibration_ref)
    latency, unavailable = None, "not asked for"
    if setting.order.measure_latency:
        latency, unavailable = host_latency(final, manifest, setting.evaluation_path)
    reason = gated.dropped_reason
    return VariantResult(manifest, final, golden_path, not reason, reason, latency, unavailable)


def _precision(model: WorkingModel) -> str:
    from muster_compression.graph.facts import graph_facts

    return graph_facts(model.path, Format(model.form.value)).precision
