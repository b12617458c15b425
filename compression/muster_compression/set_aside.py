"""Variants that the floor dropped get a folder of their own, so that nobody deploys one by mistake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from muster_compression.orders import RecipeResult, VariantResult

DROPPED = "dropped"
MANIFEST_SUFFIX = ".manifest.json"


def with_dropped_aside(result: RecipeResult, out_dir: Path) -> RecipeResult:
    """Move the files of dropped variants to ``out_dir/dropped``; what an earlier run left of a variant in the other
    of the two places goes, its manifest too."""
    variants = tuple(item if item.is_kept else _aside(item, out_dir / DROPPED) for item in result.variants)
    for item in variants:
        elsewhere = out_dir / DROPPED if item.is_kept else out_dir
        names = [path.name for path in item.files] + [item.manifest.variant_id + MANIFEST_SUFFIX]
        for name in names:
            (elsewhere / name).unlink(missing_ok=True)
    return replace(result, variants=variants)


def folder_of_run(path: Path) -> Path:
    """Where ``run.json`` of a variant's file lies."""
    return path.parent.parent if path.parent.name == DROPPED else path.parent


def _aside(item: VariantResult, folder: Path) -> VariantResult:
    folder.mkdir(exist_ok=True)
    artifact, golden = (path.replace(folder / path.name) for path in item.files)
    return replace(item, artifact_path=artifact, golden_path=golden)
