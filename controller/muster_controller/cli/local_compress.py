"""A recipe that starts from a torch module: run on the user's own machine, then hand in what came out.

The controller never runs anybody's Python. It gives the baseline's file; the module must compute the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.models import Model, Models
from muster_controller.cli.local_sources import local_data
from muster_controller.cli.output import err
from muster_controller.cli.progress import meter
from muster_protos.errors import MissingExtraError, MusterError, NotFoundError, UsageError

if TYPE_CHECKING:
    from muster_compression.orders import Parent, RecipeResult, VariantResult


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What a run gave: names of what the controller has now, and what it has not, with the reasons."""

    judged: tuple[str, ...]
    dropped: tuple[str, ...]
    not_made: tuple[str, ...]
    notes: tuple[str, ...]


def compress_here(models: Models, model: Model, recipe: str | Path, floor: str, source: str, data: str) -> LocalRun:
    """Run ``recipe`` on the module behind ``model``'s baseline, in a child process here, and send the kept variants.

    Raises:
        UsageError: there are no data, or the source is no torch source.
        NotFoundError: there is no such source, recipe or data.
        InvalidInputError: the module does not compute what the baseline does, or nothing could be made.
        MissingExtraError: torch is not installed here.
    """
    try:
        import torch  # noqa: F401

        from muster_compression.recipe import load_recipe
        from muster_compression.run_recipe import run_recipe
    except ImportError as error:
        raise MissingExtraError("compressing torch models needs: pip install 'muster-edge[compress]'") from error
    if not data:
        raise UsageError("expected --data with --model: what it trains on, and what judges the variants here")
    local_data(data.rpartition(":")[0] if ".py:" in data else data)
    name = load_recipe(str(recipe)).name
    with tempfile.TemporaryDirectory(prefix="muster-compress-") as folder:
        parent = _parent(models, model, source, data, Path(folder))
        with _stoppable(), meter("compress") as bar:
            result = run_recipe(parent, str(recipe), Path(folder) / "out", bar.show, floor=floor)
        return _hand_in(model, name, result)


def _parent(models: Models, model: Model, source: str, data: str, folder: Path) -> Parent:
    """The baseline's file from the controller, judged on the data that are here, and the module behind it."""
    from muster_compression.import_model import absolute_data, absolute_source, import_model
    from muster_compression.sources.kind import SourceKind, kind_of

    if kind_of(source) is SourceKind.FILE:
        raise UsageError(f"expected file.py:function or a .pt2 archive as --model, found {Path(source).name}")
    baseline = next((item for item in model.variants(only_kept=False) if not item.manifest["parent_variant_id"]), None)
    if baseline is None:
        raise NotFoundError(f"model {model.reference} has no baseline variant")
    file = folder / f"baseline.{baseline.manifest['format']}"
    models.export(baseline.id, file)
    signature: Mapping[str, Any] = model.fields["signature"]
    with _stoppable(), meter("baseline") as bar:
        imported = import_model(
            str(file),
            model.id,
            model.version,
            data,
            folder / "baseline",
            bar.show,
            metric=str(signature["metric"]),
            labels=tuple(signature["labels"]),
        )
    return replace(imported.parent, torch_source=absolute_source(source), data=absolute_data(data))


def _hand_in(model: Model, recipe: str, result: RecipeResult) -> LocalRun:
    """Send what is kept, in its order: a variant comes after the one that it was made from."""
    sent: list[str] = []
    not_made = [f"{item.name}: {item.reason}" for item in result.failed]
    dropped = [f"{item.manifest.name} ({item.reason})" for item in result.variants if not item.is_kept]
    for item in result.variants:
        if not item.is_kept:
            continue
        try:
            _send(model, item, recipe)
        except MusterError as error:
            not_made.append(f"{item.manifest.name}: {error}")
        else:
            sent.append(item.manifest.name)
    return LocalRun(tuple(sent), tuple(dropped), tuple(not_made), tuple(result.notes))


def _send(model: Model, item: VariantResult, recipe: str) -> None:
    """One file; the controller judges it again on its own samples.

    Forced: that the module is the baseline was proven before the recipe ran, and a better one may disagree with it.
    """
    manifest = item.manifest
    parent = manifest.parent_variant_id.rpartition(".")[2]
    with meter(manifest.name) as bar:

        def on_bytes(done: int, size: int) -> None:
            bar.show(0.5 * done / max(size, 1), "sending")

        is_first = parent not in _variant_names(model)
        operation = model.add_variant(
            item.artifact_path,
            manifest.name,
            on_bytes,
            force=True,
            parent="" if is_first else parent,
            recipe=recipe,
        )
        operation.result(None, lambda view: bar.show(0.5 + view.progress_ratio / 2, view.note.partition("\n")[0]))


def _variant_names(model: Model) -> frozenset[str]:
    return frozenset(variant.name for variant in model.variants(only_kept=False))


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C ends the child; a training goes on from its last epoch when the same is asked again."""
    try:
        yield
    except KeyboardInterrupt:
        err().print("stopped; nothing half-made was left, a training goes on from its last epoch", markup=False)
        raise
