"""What must be the same for a search to go on where it was: all that decides what a point comes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from muster_compression.applying import threads_of
from muster_compression.artifact import ref_of
from muster_compression.code_identity import imported_files, pass_code_sha256
from muster_compression.manifest import tool_versions
from muster_compression.orders import Holdout, ImportedModel
from muster_compression.recipe import Step
from muster_compression.search.evaluate import Asked
from muster_compression.search.space import Space
from muster_compression.sources.kind import split_torch


def search_identity(imported: ImportedModel, space: Space, asked: Asked, holdout: Holdout) -> str:
    """sha256 over model, samples, recipe, floor, seed, threads, everybody's code and versions."""
    manifest = imported.manifest
    steps = list(_steps(space))
    parts: dict[str, object] = {
        "model": manifest.artifact.sha256,
        "evaluation": ref_of(imported.evaluation_path).sha256,
        "calibration": None if manifest.calibration is None else manifest.calibration.sha256,
        "training": holdout.samples_sha256,
        "ranked on": holdout.samples,
        "recipe": space.raw,
        "floor": asked.floor,
        "seed": seed_of(space, asked),
        "threads": threads_of(asked.threads),
        "metric": manifest.signature.metric,
        "latency": asked.measure_latency,
        "code": _code_sha256(_named(imported.torch_source, asked.own_metric, steps)),
        "passes": {step.name: pass_code_sha256(step.spec.module) for step in steps},
        "versions": dict(tool_versions()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def seed_of(space: Space, asked: Asked) -> int:
    """As asked, else the recipe's own."""
    return space.recipe({}).seed if asked.seed is None else asked.seed


def _steps(space: Space) -> Iterable[Step]:
    """Every pass with every choice that it may have, one parameter at a time."""
    for values in space.edges():
        for variant in space.recipe(values).variants:
            yield from variant.passes


def _named(torch_source: str, own_metric: str, steps: Iterable[Step]) -> frozenset[Path]:
    """Files of the user's: the model's, the metric's and the students'."""
    given = [split_torch(torch_source), split_torch(own_metric)]
    paths = {named[0] for named in given if named is not None}
    return frozenset(paths | {path for step in steps for path, _ in step.parsed().user_code})


def _code_sha256(paths: Iterable[Path]) -> str:
    """Of these files and of what they import from their own folders; one that is not there counts as that."""
    digest = hashlib.sha256()
    for path in sorted(path.resolve() for path in paths):
        files = imported_files(path, path.parent) if path.is_file() else frozenset[Path]()
        for file in sorted(files):
            digest.update(
                str(file.relative_to(path.parent) if file.is_relative_to(path.parent) else file.name).encode()
            )
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        digest.update(b"|")
    return digest.hexdigest()
