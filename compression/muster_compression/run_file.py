"""``run.json`` in an output folder: all that a run or a search found, for ``report``, ``show`` and programs."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from muster_compression.artifact import write_bytes
from muster_compression.manifest import tool_versions
from muster_compression.orders import FailedVariant, ImportedModel, RecipeResult
from muster_compression.rows import VariantRow, baseline_row, finite, variant_row
from muster_compression.search.point import SearchSummary
from muster_protos.errors import InvalidInputError, NotFoundError

RUN_FILE = "run.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it ran and with what."""

    cpu: str
    cores: float
    os: str
    python: str
    tools: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for."""

    source: str
    recipe: str  # as named
    recipe_yaml: str  # as it was run
    data: str = ""
    metric: str = ""
    floor: str = ""
    seed: int = 0  # that passes drew with


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a recipe, or one search. Paths are relative to the folder."""

    model: str  # <name>:<version>
    asked: Asked
    environment: Environment
    baseline: VariantRow
    variants: tuple[VariantRow, ...]
    failed: tuple[FailedVariant, ...] = ()
    notes: tuple[str, ...] = ()
    search: SearchSummary | None = None
    made_at_ns: int = 0
    wall_s: float = 0.0
    schema: int = field(default=_SCHEMA)


def run_of(
    asked: Asked,
    imported: ImportedModel,
    result: RecipeResult,
    wall_s: float,
    search: SearchSummary | None = None,
) -> Run:
    """Everything as rows, with the paths as they are."""
    baseline = imported.manifest
    return Run(
        model=f"{baseline.model_id}:{baseline.model_version}",
        asked=asked,
        environment=environment(),
        baseline=baseline_row(imported, result),
        variants=tuple(variant_row(item, baseline, result.baseline_latency) for item in result.variants),
        failed=tuple(replace(item, steps=tuple(map(finite, item.steps))) for item in result.failed),
        notes=(*imported.notes, *result.notes),
        search=search,
        made_at_ns=time.time_ns(),
        wall_s=wall_s,
    )


def environment() -> Environment:
    """This host."""
    from muster_devices.facts import device_facts

    facts = device_facts(Path("/"))
    return Environment(facts.cpu_model, facts.cores, facts.os, platform.python_version(), tool_versions())


def save_run(out_dir: Path, run: Run) -> Path:
    """Write ``run.json``; the folder may be moved afterwards."""
    rows = tuple(_local(row, out_dir) for row in run.variants)
    local = replace(run, baseline=_local(run.baseline, out_dir), variants=rows)
    return write_bytes(out_dir / RUN_FILE, TypeAdapter(Run).dump_json(local, indent=2))


def load_run(out_dir: Path) -> Run:
    """Read ``run.json``.

    Raises:
        NotFoundError: the folder has none.
        InvalidInputError: it is not one, or of a newer schema.
    """
    path = out_dir / RUN_FILE
    if not path.is_file():
        raise NotFoundError(f"no {RUN_FILE} in {out_dir}; `muster-compress run --out {out_dir}` writes one")
    try:
        run = TypeAdapter(Run).validate_json(path.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{path}: expected what `muster-compress run` writes, found something else") from error
    if run.schema != _SCHEMA:
        raise InvalidInputError(f"{path}: expected schema {_SCHEMA}, found {run.schema}; run it again")
    return run


def _local(row: VariantRow, out_dir: Path) -> VariantRow:
    path = Path(row.path)
    return replace(row, path=str(path.relative_to(out_dir)) if path.is_relative_to(out_dir) else path.name)
