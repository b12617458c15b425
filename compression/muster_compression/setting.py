"""What all variants of one run of a recipe share: samples, rules, cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from muster_bench.dataset import columns, load_arrays
from muster_compression.applying import Surroundings, threads_of
from muster_compression.artifact import ref_of
from muster_compression.cache import cache_dir
from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.load import load_data
from muster_compression.dataset.overlap import apart_splits
from muster_compression.dataset.splits import Array, DataSet
from muster_compression.evaluation import evaluation_samples
from muster_compression.floor import check_reachable, parse_floor
from muster_compression.gate import Gated, GateRules
from muster_compression.orders import RecipeOrder
from muster_compression.own_metric import check_metric_is_there, load_own_metric
from muster_compression.pass_cache import PassCache, SampleHashes, samples_sha256, split_sha256
from muster_compression.recipe import Recipe
from muster_protos.errors import InvalidInputError
from muster_protos.model import ArtifactRef, VariantManifest


@dataclass(frozen=True, slots=True)
class Setting:
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
    notes: list[str] = field(default_factory=list)  # what came up on the way


def prepare(order: RecipeOrder, recipe: Recipe, folder: Path, sees_samples: bool) -> tuple[Setting, list[str]]:
    """The setting, and notes for people; training samples only where a pass ``sees_samples``.

    Raises:
        InvalidInputError: nothing judges the model, the floor cannot be reached, or the data do not fit.
        NotFoundError: there are no such data, or no such metric.
    """
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
    seed = recipe.seed if order.seed is None else order.seed
    training, holdout = None, None
    if data is not None and sees_samples:  # by the import's seed: what it trained on is never held out here
        judging, _ = evaluation_samples(parent)
        training, holdout, apart = apart_splits(data, judging, manifest.signature, manifest.seed, parent.is_ranking)
        notes += apart
    threads = threads_of(order.threads)
    hashes = SampleHashes(samples_sha256(calibration), split_sha256(training), split_sha256(holdout))
    cache = PassCache(order.cache_dir or cache_dir())
    around = Surroundings(manifest.signature, calibration, training, holdout, hashes, seed, threads, cache)
    rules = GateRules(manifest.signature, parent.evaluation_path, floor, manifest.accuracy, own_metric, threads)
    return Setting(order, recipe, manifest, parent.evaluation_path, ref, around, rules, folder), notes


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
