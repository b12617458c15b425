"""Run a recipe: child side of ``run_recipe``. Each variant is a chain of passes with a gate after each."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from muster_compression.chain import NO_TORCH, Branch, EndedError, NoParentError
from muster_compression.latency import host_latency
from muster_compression.making import make_variant
from muster_compression.nothing_made import nothing_made
from muster_compression.orders import FailedVariant, RecipeOrder, RecipeResult, VariantResult
from muster_compression.part_of import OnProgress, part_of
from muster_compression.passes.port import Form, WorkingModel
from muster_compression.recipe import BASELINE, Recipe, VariantRecipe, load_recipe
from muster_compression.setting import Setting, prepare
from muster_protos.errors import InvalidInputError, MissingExtraError, NotFoundError


def do_recipe(order: RecipeOrder, on_progress: OnProgress) -> RecipeResult:
    """See ``run_recipe.run_recipe``."""
    recipe = load_recipe(order.recipe)
    with tempfile.TemporaryDirectory(dir=order.out_dir, prefix="models-") as folder:
        return _run(order, recipe, Path(folder), on_progress)


def _run(order: RecipeOrder, recipe: Recipe, folder: Path, on_progress: OnProgress) -> RecipeResult:
    chosen = _chosen(order, recipe)
    sees_samples = any(step.spec.sees_samples for item in chosen for step in item.passes)
    setting, notes = prepare(order, recipe, folder, sees_samples)
    branches = {BASELINE: _baseline(setting, chosen, part_of(on_progress, 0.0, 0.05, BASELINE))}
    made: list[VariantResult] = []
    failed: list[FailedVariant] = []
    for index, variant in enumerate(chosen):
        step = part_of(on_progress, 0.05 + 0.94 * index / len(chosen), 0.94 / len(chosen), variant.name)
        try:
            result = make_variant(setting, variant, branches, step)
        except EndedError as error:
            cause = error.__cause__
            kinds = (MissingExtraError, NotFoundError, NoParentError)
            missing = [isinstance(cause, kind) for kind in kinds]
            failed.append(FailedVariant(variant.name, str(error), error.steps, *missing))
        else:
            made.append(result)
    if not made:
        return _nothing(order, RecipeResult((), tuple(failed), tuple(notes)))
    latency, unavailable = None, "not asked for"
    if order.measure_latency:
        on_progress(0.99, "measuring the baseline on this host")
        latency, unavailable = host_latency(order.parent.artifact_path, setting.baseline, setting.evaluation_path)
    return RecipeResult(tuple(made), tuple(failed), (*notes, *setting.notes), latency, unavailable)


def _nothing(order: RecipeOrder, result: RecipeResult) -> RecipeResult:
    """As it is where that is asked for.

    Raises:
        NothingMadeError, ExtrasMissingError: it is not.
    """
    if not order.tells_failures:
        raise nothing_made(result)
    return replace(result, baseline_latency_unavailable="there is no variant to compare it with")


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
        raise InvalidInputError(f"recipe {recipe.name}: {NO_TORCH}")
    return chosen


def _baseline(setting: Setting, chosen: list[VariantRecipe], on_progress: OnProgress) -> Branch:
    """The baseline's file, and its torch form when a variant starts from that."""
    parent = setting.order.parent
    file = WorkingModel(parent.artifact_path, Form(parent.manifest.format.value))
    if not parent.torch_source or not any(item.is_from_torch for item in chosen):
        return Branch(file, None)
    from muster_compression.torch_origin import torch_baseline

    around = setting.around
    return Branch(file, torch_baseline(parent, around.cache, around.threads, setting.folder, on_progress))
