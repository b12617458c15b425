"""What a run of ``muster-compress`` shows: a tree for people, JSON for programs, a manifest beside each variant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from muster_compression.artifact import write_bytes
from muster_compression.orders import ImportedModel, RecipeResult, StepResult
from muster_compression.recipe import Recipe
from muster_compression.rows import VariantRow
from muster_compression.run_file import Run, load_run
from muster_compression.search.point import SearchSummary, Verdict
from muster_compression.sources.kind import split_torch
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.metric_names import is_share
from muster_protos.model import VariantManifest

Json: TypeAlias = dict[str, Any]

_MANIFEST_SUFFIX = ".manifest.json"
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
    for manifest in (imported.manifest, *(item.manifest for item in result.variants)):
        payload = _MANIFEST.dump_json(manifest, indent=2)
        write_bytes(out_dir / f"{manifest.variant_id}{_MANIFEST_SUFFIX}", payload)


def as_json(run: Run) -> Json:
    """``{"baseline": {...}, "variants": [...], "failed": [...]}``; missing figures are null with a reason."""
    return {
        "baseline": _ROW.dump_python(run.baseline, mode="json"),
        "variants": [_ROW.dump_python(row, mode="json") for row in run.variants],
        "failed": [{"name": item.name, "reason": item.reason} for item in run.failed],
        "notes": list(run.notes),
        **({} if run.search is None else {"search": _SEARCH.dump_python(run.search, mode="json")}),
    }


def as_tree(run: Run) -> str:
    """The lineage with the figures that decide; dropped and failed variants below it."""
    lines = [_line(f"{run.model} {run.baseline.name}", run.baseline)]
    known = {row.variant_id for row in run.variants if row.kept}
    children: dict[str, list[VariantRow]] = {}
    for row in run.variants:
        if row.kept:
            parent = row.parent if row.parent in known else run.baseline.variant_id
            children.setdefault(parent, []).append(row)
    lines += _branches(run.baseline.variant_id, children, " ")
    lines += [f"dropped: {row.name}: {row.reason}" for row in run.variants if not row.kept]
    lines += [f"failed: {item.name}: {item.reason}" for item in run.failed]
    return "\n".join([*lines, *(_search_lines(run.search) if run.search else ())])


def _search_lines(search: SearchSummary) -> list[str]:
    """Which samples the points were ranked on, then each with what became of it; the chosen ones with both figures."""
    lines = [f"points were ranked on {search.ranked_on}"] if search.ranked_on else []
    for item in search.verdicts:
        values = ", ".join(f"{name} = {value}" for name, value in item.point.values.items())
        lines.append(f"{item.point.key}: {item.reason} ({values or 'no free parameters'}){_both(item, search)}")
    return lines


def _both(item: Verdict, search: SearchSummary) -> str:
    """What it was ranked by, and what it came to on samples that it was not chosen by."""
    if item.judged is None or not search.is_ranked_apart:
        return ""
    ranked = _quality(item.point.metric, item.point.accuracy, item.point.agreement)
    judged = _quality(item.judged.metric, item.judged.accuracy, item.judged.agreement)
    return f": held-out {ranked}, judged {judged}" + (" (under the floor there)" if item.judged.under_floor else "")


def _quality(metric: str, value: float | None, agreement: float | None) -> str:
    if value is not None:
        return f"{metric} {_figure(value, metric)}"
    return "unknown" if agreement is None else f"agreement {agreement:.1%}"


def _branches(parent: str, children: Mapping[str, list[VariantRow]], indent: str) -> list[str]:
    """Children below their parents."""
    rows = children.get(parent, [])
    lines = []
    for index, row in enumerate(rows):
        is_last = index == len(rows) - 1
        lines.append(_line(f"{indent}{'└─' if is_last else '├─'} {row.name}", row))
        lines += _branches(row.variant_id, children, f"{indent}{'   ' if is_last else '│  '}")
    return lines


def _line(head: str, row: VariantRow) -> str:
    quality = "no labels" if row.accuracy is None else f"{row.metric} {_figure(row.accuracy, row.metric)}"
    agreement = "" if row.agreement is None else f"agreement {row.agreement:.1%}"
    latency = "" if row.latency_ms is None else f"{row.latency_ms:.2f} ms here"
    if row.parent:
        latency += "" if row.latency_ratio is None else f" ({row.latency_ratio:.1f}x)"
    size = f"{_size(row.size_bytes):>9}" + (f" ({row.size_ratio:.1f}x)" if row.parent else "")
    return f"{head:<28} {quality:<18} {agreement:<18} {size:<17}  {latency}".rstrip()


def _figure(value: float, metric: str) -> str:
    return f"{value:.1%}" if is_share(metric) else f"{value:.4g}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def chains(recipe: Recipe, is_full: bool) -> str:
    """One line, or the whole recipe with its passes."""
    head = f"{recipe.name:<14} {recipe.title}"
    if not is_full:
        return head
    chains = [
        f"  {item.name} ({', '.join(item.formats)}), from {item.parent}: "
        + " -> ".join(step.name for step in item.passes)
        for item in recipe.variants
    ]
    return "\n".join([head, f"  {recipe.when}", *chains])


def manifest_of(path: Path) -> VariantManifest:
    """The manifest beside a variant's file.

    Raises:
        NotFoundError: there is no such file, or no manifest beside it.
        InvalidInputError: the manifest does not read.
    """
    beside = path if path.name.endswith(_MANIFEST_SUFFIX) else path.with_name(path.stem + _MANIFEST_SUFFIX)
    if not beside.is_file():
        raise NotFoundError(f"no manifest {beside}; `muster-compress run` writes one beside each variant")
    try:
        return _MANIFEST.validate_json(beside.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{beside.name}: expected a variant's manifest, found something else") from error


def steps_of(folder: Path, variant_id: str) -> tuple[StepResult, ...]:
    """The passes that made a variant, from the folder's ``run.json``; none when it has none of this variant."""
    try:
        run = load_run(folder)
    except (NotFoundError, InvalidInputError):
        return ()
    return next((row.steps for row in run.variants if row.variant_id == variant_id), ())


def steps_json(steps: Sequence[StepResult]) -> list[Json]:
    """For programs."""
    found: list[Json] = _STEPS.dump_python(list(steps), mode="json")
    return found


def facts_of(manifest: VariantManifest) -> Json:
    """All of it, for programs."""
    facts: Json = _MANIFEST.dump_python(manifest, mode="json")
    return facts
