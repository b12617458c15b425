"""What a run of ``muster-compress`` leaves: JSON for programs, recipes for people, a manifest beside each variant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from muster_compression.artifact import write_bytes
from muster_compression.orders import ImportedModel, RecipeResult, StepResult
from muster_compression.recipe import Recipe
from muster_compression.rows import VariantRow
from muster_compression.run_file import Run, load_run
from muster_compression.search.point import SearchSummary
from muster_compression.set_aside import MANIFEST_SUFFIX, folder_of_run
from muster_compression.sources.kind import split_torch
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import VariantManifest

Json: TypeAlias = dict[str, Any]

_MANIFEST = TypeAdapter(VariantManifest)
_ROW = TypeAdapter(VariantRow)
_STEPS = TypeAdapter(list[StepResult])
_SEARCH = TypeAdapter(SearchSummary)


def model_name(source: str) -> str:
    """A valid model id from what the user named."""
    named = split_torch(source)
    stem = (named[0] if named else Path(source)).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:40] or "model"


def save_manifests(out_dir: Path, imported: ImportedModel, result: RecipeResult) -> None:
    """``<variant id>.manifest.json`` for ``show`` and ``compare``."""
    made = [(item.manifest, item.artifact_path.parent) for item in result.variants]
    for manifest, folder in ((imported.manifest, out_dir), *made):
        payload = _MANIFEST.dump_json(manifest, indent=2)
        write_bytes(folder / f"{manifest.variant_id}{MANIFEST_SUFFIX}", payload)


def as_json(run: Run) -> Json:
    """``{"baseline": {...}, "variants": [...], "failed": [...]}``; missing figures are null with a reason."""
    return {
        "baseline": _ROW.dump_python(run.baseline, mode="json"),
        "variants": [_ROW.dump_python(row, mode="json") for row in run.variants],
        "failed": [{"name": item.name, "reason": item.reason} for item in run.failed],
        "notes": list(run.notes),
        **({} if run.search is None else {"search": _SEARCH.dump_python(run.search, mode="json")}),
    }


def in_one_line(recipe: Recipe) -> str:
    """Its name and what it does."""
    return f"{recipe.name:<14} {recipe.title}"


def in_full(recipe: Recipe, text: str) -> str:
    """Its chains as comments, then its YAML (``text``): saved, it runs as it is."""
    chains = [
        f"# {item.name} ({', '.join(item.formats)}), from {item.parent}: "
        + " -> ".join(step.name for step in item.passes)
        for item in recipe.variants
    ]
    return "\n".join([*chains, text.strip("\n")])


def manifest_of(path: Path) -> VariantManifest:
    """The manifest beside a variant's file.

    Raises:
        NotFoundError: there is no such file, or no manifest beside it.
        InvalidInputError: the manifest does not read.
    """
    beside = path if path.name.endswith(MANIFEST_SUFFIX) else path.with_name(path.stem + MANIFEST_SUFFIX)
    if not beside.is_file():
        raise NotFoundError(f"no manifest {beside}; `muster-compress run` writes one beside each variant")
    try:
        return _MANIFEST.validate_json(beside.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{beside.name}: expected a variant's manifest, found something else") from error


@dataclass(frozen=True, slots=True)
class Fate:
    """What the folder's newest run says of a variant."""

    steps: tuple[StepResult, ...] = ()  # the passes that made it
    dropped: str = ""  # the reason; "" = it was kept, or is no part of that run


def fate_of(path: Path, manifest: VariantManifest) -> Fate:
    """From the ``run.json`` beside the variant; nothing when it has none of this variant."""
    try:
        run = load_run(folder_of_run(path))
    except (NotFoundError, InvalidInputError):
        return Fate()
    for row in run.variants:
        if row.variant_id == manifest.variant_id:
            return Fate(row.steps, "" if row.kept else row.reason)
    return next((Fate(item.steps, item.reason) for item in run.failed if item.name == manifest.name), Fate())


def listing(run: Run) -> list[Json]:
    """The variants of a run, for ``show DIR``: name, file, whether it was kept, why not."""
    rows = [{"name": row.name, "path": row.path, "kept": row.kept, "reason": row.reason} for row in _rows(run)]
    return rows + [{"name": item.name, "path": "", "kept": False, "reason": item.reason} for item in run.failed]


def _rows(run: Run) -> tuple[VariantRow, ...]:
    return (run.baseline, *run.variants)


def steps_json(steps: Sequence[StepResult]) -> list[Json]:
    """For programs."""
    found: list[Json] = _STEPS.dump_python(list(steps), mode="json")
    return found


def facts_of(manifest: VariantManifest) -> Json:
    """All of it, for programs."""
    facts: Json = _MANIFEST.dump_python(manifest, mode="json")
    return facts
