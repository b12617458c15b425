"""Spend a budget on a space, and make the frontier's points variants."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muster_compression.artifact import ref_of, write_bytes
from muster_compression.frontier import Candidate, quality_of
from muster_compression.latency import host_latency
from muster_compression.orders import HostLatency, ImportedModel, RecipeResult, VariantResult
from muster_compression.process import OnProgress, part_of
from muster_compression.run_recipe import run_recipe
from muster_compression.search.budget import Budget
from muster_compression.search.evaluate import Asked, Evaluator
from muster_compression.search.log import SearchLog
from muster_compression.search.point import Point, SearchSummary, Verdict
from muster_compression.search.proposing import Proposer, proposer_for
from muster_compression.search.space import Space
from muster_compression.search.verdicts import BASELINE_KEY, verdicts
from muster_protos.errors import InfeasibleError, InvalidInputError

FRONTIER_FILE = "frontier.yaml"
_SEARCHING = 0.92  # of the progress; the rest makes the variants


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The frontier as variants of a run, and how it was found."""

    result: RecipeResult
    summary: SearchSummary
    recipe_path: Path  # the frontier as a recipe without free parameters


def run_search(
    imported: ImportedModel,
    space: Space,
    budget: Budget,
    asked: Asked,
    on_progress: OnProgress = lambda _ratio, _note: None,
    stop: threading.Event | None = None,
) -> SearchResult:
    """Try points until the budget is spent or the space is, keep each in the folder's log, make the frontier.

    What an earlier call with the same model, recipe, floor and seed left in the log counts towards the budget.

    Raises:
        InvalidInputError: no variant of the recipe starts from such a model, or the folder holds another search.
        ConflictError: another process searches in this folder.
        InfeasibleError: no point came out above the floor; the message has the nearest.
        InterruptedError: ``stop`` was set; finished points are kept.
    """
    format = imported.manifest.format.value  # noqa: A001
    targets = space.targets(format, bool(imported.torch_source))
    if not targets:
        torch = "" if imported.torch_source else " without their torch module (--model net.py:make)"
        raise InvalidInputError(f"{space.name} has nothing for {format} models{torch}")
    evaluator = Evaluator(space, imported.parent, asked, stop)
    with SearchLog.open(asked.out_dir, _identity(imported, space, asked)) as log:
        baseline = _baseline_latency(imported, asked)
        proposers = _proposers(space, targets, budget, seed_of(space, asked), baseline[0])
        ended = _explore(space, proposers, log, budget, evaluator, part_of(on_progress, 0.0, _SEARCHING))
    found = verdicts(log.points, _candidate(imported, baseline[0]), _metric(imported))
    summary = SearchSummary(
        parameters={item.name: str(item.domain) for item in space.parameters},
        budget=str(budget),
        spent_s=sum(point.wall_s for point in log.points),
        verdicts=tuple(found),
        ended=ended,
        methods={space.variant_name(target): proposers[target].method for target in targets},
    )
    path = _write_frontier(space, targets, found, asked.out_dir)
    result = run_recipe(
        imported.parent,
        str(path),
        asked.out_dir,
        part_of(on_progress, _SEARCHING, 1 - _SEARCHING, "making the frontier"),
        stop=stop,
        floor=asked.floor,
        seed=asked.seed,
        own_metric=asked.own_metric,
        threads=asked.threads,
        cache_dir=asked.cache_dir,
    )
    return SearchResult(_with_latencies(result, log.points, evaluator, baseline), summary, path)


def _explore(
    space: Space,
    proposers: Mapping[int, Proposer],
    log: SearchLog,
    budget: Budget,
    evaluator: Evaluator,
    on_progress: OnProgress,
) -> str:
    """One variant after the other in turn, as long as it has points left; returns why it ended."""
    spent_s = sum(point.wall_s for point in log.points)
    open_targets = list(proposers)
    while open_targets:
        share = budget.share(len(log.points), spent_s)
        if share >= 1:
            return "the budget"
        tried = {target: [p for p in log.points if p.variant == space.variant_name(target)] for target in open_targets}
        target = min(open_targets, key=lambda item: (len(tried[item]), item))
        values = proposers[target].propose(tried[target])
        if values is None:
            open_targets.remove(target)
            continue
        number = len(log.points) + 1
        next_share = budget.share(number, spent_s) if budget.points else share
        step = part_of(
            on_progress, share, max(0.0, next_share - share), f"point {number}, {space.variant_name(target)}"
        )
        point = evaluator.evaluate(number, target, values, step)
        spent_s += point.wall_s
        log.append(point)
    return "the space: every point of it was tried"


def _proposers(
    space: Space,
    targets: list[int],
    budget: Budget,
    seed: int,
    latency: HostLatency | None,
) -> dict[int, Proposer]:
    slowest_ms = 0.0 if latency is None else latency.p50_ns / 1e6
    points = None if budget.points is None else budget.points // len(targets)
    return {target: proposer_for(space.parameters_for(target), points, seed + target, slowest_ms) for target in targets}


def seed_of(space: Space, asked: Asked) -> int:
    """As asked, else the recipe's own."""
    return space.recipe({}).seed if asked.seed is None else asked.seed


def _identity(imported: ImportedModel, space: Space, asked: Asked) -> str:
    """What must be the same for a log to go on."""
    parts: list[object] = [imported.manifest.artifact.sha256, ref_of(imported.evaluation_path).sha256, space.raw]
    parts += [asked.floor, seed_of(space, asked), imported.manifest.signature.metric, asked.measure_latency]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _baseline_latency(imported: ImportedModel, asked: Asked) -> tuple[HostLatency | None, str]:
    if not asked.measure_latency:
        return None, "not asked for"
    return host_latency(imported.artifact_path, imported.manifest, imported.evaluation_path)


def _candidate(imported: ImportedModel, latency: HostLatency | None) -> Candidate:
    manifest, accuracy = imported.manifest, imported.manifest.accuracy
    assert accuracy is not None
    figure = quality_of(accuracy.metric, accuracy.value, accuracy.agreement)
    latency_ms = None if latency is None else latency.p50_ns / 1e6
    return Candidate(BASELINE_KEY, manifest.format.value, figure, latency_ms, manifest.artifact.size_bytes)


def _metric(imported: ImportedModel) -> str:
    """The metric that decides; "" when it is agreement."""
    accuracy = imported.manifest.accuracy
    return accuracy.metric if accuracy is not None and accuracy.value is not None else ""


def _write_frontier(space: Space, targets: list[int], found: list[Verdict], folder: Path) -> Path:
    """The chosen points as a recipe.

    Raises:
        InfeasibleError: there are none.
    """
    by_name = {space.variant_name(target): target for target in targets}
    chosen = [(by_name[item.point.variant], item.point) for item in found if item.is_chosen]
    if not chosen:
        raise InfeasibleError(_why_none(found))
    known = [(by_name[item.point.variant], item.point) for item in found if not item.point.failed]
    return write_bytes(folder / FRONTIER_FILE, space.frontier_yaml(chosen, known).encode())


def _why_none(found: list[Verdict]) -> str:
    """The nearest miss: what came out at all, by quality, else the first failure."""
    came_out = [item for item in found if not item.point.failed]
    failed = len(found) - len(came_out)
    head = f"none of {len(found)} points is worth keeping ({failed} failed)"
    if not came_out:
        return f"{head}; the first: {found[0].point.failed}" if found else f"{head}; raise the budget"
    best = max(
        came_out, key=lambda item: quality_of(item.point.metric, item.point.accuracy, item.point.agreement) or 0.0
    )
    return f"{head}; the nearest is {best.point.key}, {best.reason}"


def _with_latencies(
    result: RecipeResult, points: list[Point], evaluator: Evaluator, baseline: tuple[HostLatency | None, str]
) -> RecipeResult:
    """As the search measured them; what it did not is measured now."""
    known = {point.sha256: point for point in points if point.latency_ms is not None}
    variants = result.variants
    if evaluator.asked.measure_latency:
        variants = tuple(_measured(item, known, evaluator) for item in variants)
    return replace(result, variants=variants, baseline_latency=baseline[0], baseline_latency_unavailable=baseline[1])


def _measured(item: VariantResult, known: Mapping[str, Point], evaluator: Evaluator) -> VariantResult:
    point = known.get(item.manifest.artifact.sha256)
    if point is None or point.latency_ms is None:
        latency, unavailable = evaluator.latency(item.artifact_path, item)
        return replace(item, latency=latency, latency_unavailable=unavailable)
    runtime = "litert" if point.format == "tflite" else "onnxruntime"
    return replace(item, latency=HostLatency(round(point.latency_ms * 1e6), runtime, point.latency_state))
