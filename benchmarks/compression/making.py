"""The variants of one template on one task and of its control, through the product's own API and its cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.compression import derived
from benchmarks.compression.ask import Memory
from benchmarks.compression.baselines import Baseline
from muster_compression.orders import RecipeResult, StepResult, VariantResult
from muster_compression.part_of import OnProgress, part_of
from muster_compression.process import Limits
from muster_compression.recipe import Recipe, load_recipe
from muster_compression.run_recipe import run_recipe
from muster_protos.errors import MusterError
from muster_protos.model import Format

WALL_S = 3 * 3600.0
THREADS = 1
"""Small networks train hardly faster on two: two tasks at once do, and the weights are those of any machine's core."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs on one task share."""

    task: str
    both: Mapping[Format, Baseline]
    folder: Path
    cache: Path  # of the product
    memory: Memory
    seed: int
    share: float  # of the templates' epochs


@dataclass(frozen=True, slots=True)
class Made:
    """What came out, and what did not with the reason; dropped variants are among what came out."""

    variants: tuple[VariantResult, ...]
    controls: tuple[VariantResult, ...]
    failed: tuple[str, ...]
    wall_s: float  # of all passes when they were computed


def make_template(bench: Bench, template: str, on_progress: OnProgress) -> Made:
    """Every variant in both formats, and the same without a teacher where there is one."""
    recipe = derived.in_small(template, bench.share, bench.folder / "recipes")
    name = load_recipe(template).name
    results, failed = _run(bench, recipe, name, part_of(on_progress, 0.0, 0.7, name))
    control = derived.control_of(recipe, bench.folder / "recipes")
    controls: list[RecipeResult] = []
    if control:
        report = part_of(on_progress, 0.7, 0.3, f"{name} without a teacher")
        controls, control_failed = _run(bench, control, f"{name}-control", report)
        failed += [f"control of {line}" for line in control_failed]
    variants = [item for result in results for item in result.variants]
    return Made(
        variants=tuple(_with_whole_chains(variants, load_recipe(recipe))),
        controls=tuple(item for result in controls for item in result.variants),
        failed=tuple(failed),
        wall_s=_wall_s([*results, *controls]),
    )


def run_one(bench: Bench, recipe: str, parent: Format, out: Path, on_progress: OnProgress) -> RecipeResult:
    """``recipe`` on the task's baseline of a format.

    Raises:
        MusterError: nothing came out.
    """
    return run_recipe(
        bench.both[parent].imported.parent,
        recipe,
        out,
        on_progress,
        seed=bench.seed,
        cache_dir=bench.cache,
        limits=Limits(wall_s=WALL_S),
        threads=THREADS,
    )


def _run(bench: Bench, recipe: str, name: str, on_progress: OnProgress) -> tuple[list[RecipeResult], list[str]]:
    """The recipe on the torch source, and what of it begins with a TFLite file on that."""
    for_files = derived.for_tflite_files(recipe, bench.folder / "recipes")
    orders = [(Format.ONNX, recipe), *([(Format.TFLITE, for_files)] if for_files else [])]
    results, failed = [], []
    for index, (format_, wanted) in enumerate(orders):
        report = part_of(on_progress, index / len(orders), 1 / len(orders))
        try:
            result = run_one(bench, wanted, format_, bench.folder / "variants" / name / format_.value, report)
        except MusterError as error:
            failed.append(f"{name}: {error}")
            continue
        results.append(result)
        failed += [f"{item.name}: {item.reason}" for item in result.failed]
    return results, failed


def _with_whole_chains(variants: Sequence[VariantResult], recipe: Recipe) -> Iterator[VariantResult]:
    """Each with the passes of those before it that it was made from: their controls and heads are its own, too."""
    parents = {item.name: item.parent for item in recipe.variants}
    chains: dict[str, tuple[StepResult, ...]] = {}
    for item in variants:
        name = item.manifest.name
        chains[name] = (*chains.get(parents.get(name, ""), ()), *item.steps)
        yield replace(item, steps=chains[name])


def _wall_s(results: Sequence[RecipeResult]) -> float:
    """Of every pass once: variants share beginnings."""
    chains = [item.steps for result in results for item in result.variants]
    chains += [item.steps for result in results for item in result.failed]
    steps = [step for chain in chains for step in chain]
    return sum({(step.pass_name, step.effect, step.wall_s): step.wall_s for step in steps}.values())
