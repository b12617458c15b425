"""What a run of ``muster-compress`` shows: a tree for people, JSON for programs, a manifest beside each variant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from muster_compression.artifact import write_bytes
from muster_compression.orders import HostLatency, ImportedModel, RecipeResult, VariantResult
from muster_compression.recipe import Recipe
from muster_compression.sources.kind import split_torch
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import VariantManifest

Json: TypeAlias = dict[str, Any]

_MANIFEST_SUFFIX = ".manifest.json"
_MANIFEST = TypeAdapter(VariantManifest)


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


def as_json(imported: ImportedModel, result: RecipeResult) -> Json:
    """``{"baseline": {...}, "variants": [...], "failed": [...]}``; missing figures are null with a reason."""
    base_latency = result.baseline_latency
    baseline = _row(imported.manifest, imported.artifact_path, base_latency, result.baseline_latency_unavailable)
    return {
        "baseline": baseline,
        "variants": [_variant_row(item, imported.manifest, base_latency) for item in result.variants],
        "failed": [{"name": item.name, "reason": item.reason} for item in result.failed],
        "notes": [*imported.notes, *result.notes],
    }


def _row(manifest: VariantManifest, path: Path, latency: HostLatency | None, unavailable: str) -> Json:
    accuracy = manifest.accuracy
    assert accuracy is not None
    return {
        "name": manifest.name,
        "format": manifest.format.value,
        "path": str(path),
        "sha256": manifest.artifact.sha256,
        "size_bytes": manifest.artifact.size_bytes,
        "transit_bytes": manifest.transit_bytes,
        "precision": manifest.precision,
        "params": manifest.params,
        "macs": manifest.macs,
        "latency_ms": None if latency is None else latency.p50_ns / 1e6,
        "latency_reason": unavailable if latency is None else "; ".join(latency.reasons),
        "latency_of": "this host, one thread; devices decide",
        "metric": accuracy.metric,
        "accuracy": accuracy.value,
        "accuracy_ci": [accuracy.ci_low, accuracy.ci_high],
        "accuracy_reason": accuracy.unavailable_reason,
        "agreement": accuracy.agreement,
        "agreement_ci": [accuracy.agreement_ci_low, accuracy.agreement_ci_high],
        "sqnr_db": manifest.sqnr_db,
        "samples": accuracy.n,
    }


def _variant_row(item: VariantResult, baseline: VariantManifest, base_latency: HostLatency | None) -> Json:
    row = _row(item.manifest, item.artifact_path, item.latency, item.latency_unavailable)
    both = item.latency is not None and base_latency is not None and item.latency.p50_ns > 0
    ratio = base_latency.p50_ns / item.latency.p50_ns if both and base_latency and item.latency else None
    return row | {
        "parent": item.manifest.parent_variant_id,
        "recipe": item.manifest.recipe,
        "size_ratio": baseline.artifact.size_bytes / item.manifest.artifact.size_bytes,
        "latency_ratio": ratio,
        "kept": item.is_kept,
        "reason": item.reason,
    }


def as_tree(imported: ImportedModel, result: RecipeResult) -> str:
    """The lineage with the figures that decide; dropped and failed variants below it."""
    baseline = as_json(imported, result)["baseline"]
    kept = [item for item in result.variants if item.is_kept]
    lines = [_line(f"{imported.manifest.model_id}:{imported.manifest.model_version} {baseline['name']}", baseline)]
    for index, item in enumerate(kept):
        row = _variant_row(item, imported.manifest, result.baseline_latency)
        mark = "└─" if index == len(kept) - 1 else "├─"
        lines.append(_line(f" {mark} {row['name']}", row))
    lines += [f"dropped: {item.manifest.name}: {item.reason}" for item in result.variants if not item.is_kept]
    lines += [f"failed: {item.name}: {item.reason}" for item in result.failed]
    return "\n".join(lines)


def _line(head: str, row: Json) -> str:
    quality = "no labels" if row["accuracy"] is None else f"{row['metric']} {_figure(row['accuracy'], row['metric'])}"
    agreement = "" if row["agreement"] is None else f"agreement {row['agreement']:.1%}"
    latency = "" if row["latency_ms"] is None else f"{row['latency_ms']:.2f} ms here"
    return f"{head:<28} {quality:<18} {agreement:<18} {_size(row['size_bytes']):>9}  {latency}".rstrip()


def _figure(value: float, metric: str) -> str:
    return f"{value:.1%}" if metric == "accuracy" else f"{value:.4g}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def recipe_text(recipe: Recipe, is_full: bool) -> str:
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


def facts_of(path: Path) -> Json:
    """The manifest beside a variant's file.

    Raises:
        NotFoundError: there is no such file, or no manifest beside it.
        InvalidInputError: the manifest does not read.
    """
    beside = path if path.name.endswith(_MANIFEST_SUFFIX) else path.with_name(path.stem + _MANIFEST_SUFFIX)
    if not beside.is_file():
        raise NotFoundError(f"no manifest {beside}; `muster-compress run` writes one beside each variant")
    try:
        manifest = _MANIFEST.validate_json(beside.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{beside.name}: expected a variant's manifest, found something else") from error
    facts: Json = _MANIFEST.dump_python(manifest, mode="json")
    return facts


_SHOWN = ("variant_id", "parent_variant_id", "recipe", "seed", "format", "opset", "precision", "params", "macs")
_SHOWN_LATER = ("sparsity", "transit_bytes", "sqnr_db", "golden_max_abs_error", "target_hint")


def columns(facts: list[Json]) -> str:
    """The figures of one or two variants, one per line."""
    rows: list[tuple[str, list[str]]] = [(key, [_text(item[key]) for item in facts]) for key in _SHOWN]
    rows.append(("size_bytes", [_text(item["artifact"]["size_bytes"]) for item in facts]))
    rows += [(key, [_text(item[key]) for item in facts]) for key in _SHOWN_LATER]
    for key in ("metric", "value", "ci_low", "ci_high", "agreement", "ece", "n"):
        rows.append((f"accuracy {key}", [_text((item["accuracy"] or {}).get(key)) for item in facts]))
    rows.append(("sha256", [item["artifact"]["sha256"] for item in facts]))
    rows.append(("made with", [", ".join(f"{k} {v}" for k, v in item["tool_versions"].items()) for item in facts]))
    width = max(len(value) for _, values in rows for value in values[:1])
    return "\n".join(f"{key:<22} {'  '.join(f'{value:<{width}}' for value in values)}".rstrip() for key, values in rows)


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
