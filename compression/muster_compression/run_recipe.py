"""Run a recipe on an imported model: from one baseline to several judged variants."""

from __future__ import annotations

import threading
from pathlib import Path

from muster_compression.import_model import absolute_data
from muster_compression.nothing_made import nothing_made
from muster_compression.orders import Parent, RecipeOrder, RecipeResult
from muster_compression.part_of import OnProgress
from muster_compression.process import Limits, run_order
from muster_compression.variant_of import absolute_parent

__all__ = ["run_recipe"]


def run_recipe(
    parent: Parent,
    recipe: str,
    out_dir: Path,
    on_progress: OnProgress | None = None,
    *,
    stop: threading.Event | None = None,
    floor: str = "",
    data: str = "",
    seed: int | None = None,
    cache_dir: Path | None = None,
    measure_latency: bool = False,
    limits: Limits | None = None,
    own_metric: str = "",
    threads: int = 0,
) -> RecipeResult:
    """Make the recipe's variants of ``parent``'s model; the work happens in a child process.

    Args:
        recipe: a template's name ("quick") or the path of a YAML file.
        floor: "0.88", "-0.01" or "0.99rel"; variants under it come back with ``is_kept`` False and the figures.
        data: where to calibrate from instead of the samples kept at import.
        seed: of what passes draw; None = the recipe's own.
        threads: to train with; 0 = as many as the process may use. Another number may give other weights.
        own_metric: ``file.py:function`` that the model was imported with, where it was.
        measure_latency: also measure each variant on this host, one thread; a hint, devices decide.

    Raises:
        NotFoundError: no such recipe.
        InvalidInputError: the recipe or floor is wrong.
        NothingMadeError, ExtrasMissingError: no variant could be made at all; with all that is known of each.
        MissingExtraError, ChildError, InterruptedError: as ``import_model``.
    """
    recipe_path = Path(recipe)
    named = str(recipe_path.resolve()) if recipe_path.is_file() else recipe
    order = RecipeOrder(
        recipe=named,
        parent=absolute_parent(parent),
        out_dir=out_dir,
        floor=floor,
        data=absolute_data(data),
        cache_dir=cache_dir and cache_dir.resolve(),
        seed=seed,
        measure_latency=measure_latency,
        own_metric=absolute_data(own_metric),
        threads=threads,
        tells_failures=True,
    )
    result = run_order(order, RecipeResult, on_progress, stop, limits)
    if not result.variants:
        raise nothing_made(result)
    return result
