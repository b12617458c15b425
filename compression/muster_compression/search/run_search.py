"""Spend a budget on a space, and make the frontier's points variants."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muster_compression.frontier import Candidate, quality_of
from muster_compression.latency import host_latency
from muster_compression.nothing_made import NothingMadeError
from muster_compression.orders import Holdout, HostLatency, ImportedModel, Parent, RecipeResult
from muster_compression.part_of import OnProgress, part_of
from muster_compression.run_recipe import run_recipe
from muster_compression.search.budget import Budget
from muster_compression.search.conclude import none_came_out, with_judged, with_latencies, write_frontier
from muster_compression.search.evaluate import Asked, Evaluator
from muster_compression.search.identity import search_identity, seed_of
from muster_compression.search.log import SearchLog
from muster_compression.search.point import SearchSummary
from muster_compression.search.proposing import Proposer, proposer_for
from muster_compression.search.ranking import in_words, ranking_samples
from muster_compression.search.space import Space
from muster_compression.search.verdicts import BASELINE_KEY, verdicts
from muster_compression.workspace import search_folder
from muster_protos.errors import InvalidInputError

_PREPARING = 0.02  # of the progress
_SEARCHING = 0.9  # the rest makes the variants


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

    Points are ranked on the held-out samples, and only what is on the frontier is judged on the samples that judge;
    without held-out samples the latter rank, too, and the summary says so. The floor holds on both. What an earlier
    call with the same model, samples, recipe, floor, seed, threads, code and versions left in the log counts towards
    the budget.

    Raises:
        InvalidInputError: no variant of the recipe starts from such a model, or the folder holds another search.
        ConflictError: another process searches in this folder.
        NothingKeptError: no point came out above the floor; the message has the nearest.
        MissingExtraError, TemporaryError, ChildError: what a point needs is not there; it is not in the log.
        InterruptedError: ``stop`` was set; finished points are kept.
    """
    format = imported.manifest.format.value  # noqa: A001
    targets = space.targets(format, bool(imported.torch_source))
    if not targets:
        torch = "" if imported.torch_source else " without their torch module (--model net.py:make)"
        raise InvalidInputError(f"{space.name} has nothing for {format} models{torch}")
    asked.out_dir.mkdir(parents=True, exist_ok=True)
    with search_folder(asked.out_dir) as folder:
        preparing = part_of(on_progress, 0.0, _PREPARING)
        holdout = ranking_samples(imported.parent, asked.own_metric, folder, preparing, stop)
        with SearchLog.open(asked.out_dir, search_identity(imported, space, asked, holdout)) as log:
            rest = part_of(on_progress, _PREPARING, 1 - _PREPARING)
            return _search(imported, space, targets, budget, asked, holdout, log, rest, stop)


def _search(
    imported: ImportedModel,
    space: Space,
    targets: list[int],
    budget: Budget,
    asked: Asked,
    holdout: Holdout,
    log: SearchLog,
    on_progress: OnProgress,
    stop: threading.Event | None,
) -> SearchResult:
    """The folder is locked meanwhile, until the frontier's variants lie in it."""
    ranked = holdout.parent or imported.parent
    evaluator = Evaluator(space, ranked, asked, stop)
    baseline = _baseline_latency(imported, asked)
    proposers = _proposers(space, targets, budget, seed_of(space, asked), baseline[0])
    ended = _explore(space, proposers, log, budget, evaluator, part_of(on_progress, 0.0, _SEARCHING))
    candidate = _candidate(ranked, baseline[0])
    summary = SearchSummary(
        parameters={item.name: str(item.domain) for item in space.parameters},
        budget=str(budget),
        spent_s=sum(point.wall_s for point in log.points),
        verdicts=tuple(verdicts(log.points, candidate, _metric(ranked))),
        ended=ended,
        methods={space.variant_name(target): proposers[target].method for target in targets},
        ranked_on=in_words(holdout),
        is_ranked_apart=holdout.parent is not None,
        baseline_ranked=_value(ranked),
    )
    path = write_frontier(space, targets, summary, asked.out_dir)
    making = part_of(on_progress, _SEARCHING, 1 - _SEARCHING, "making the frontier")
    try:
        result = _made(imported.parent, path, asked, making, stop)
    except NothingMadeError as error:
        raise none_came_out(error, summary) from error
    result = replace(result, notes=tuple(dict.fromkeys((*holdout.notes, *result.notes))))
    return SearchResult(with_latencies(result, log.points, evaluator, baseline), with_judged(summary, result), path)


def _made(
    parent: Parent, recipe: Path, asked: Asked, on_progress: OnProgress, stop: threading.Event | None
) -> RecipeResult:
    """The frontier, out of the cache, judged on the samples that judge."""
    return run_recipe(
        parent,
        str(recipe),
        asked.out_dir,
        on_progress,
        stop=stop,
        floor=asked.floor,
        seed=asked.seed,
        own_metric=asked.own_metric,
        threads=asked.threads,
        cache_dir=asked.cache_dir,
    )


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


def _baseline_latency(imported: ImportedModel, asked: Asked) -> tuple[HostLatency | None, str]:
    if not asked.measure_latency:
        return None, "not asked for"
    return host_latency(imported.artifact_path, imported.manifest, imported.evaluation_path)


def _candidate(ranked: Parent, latency: HostLatency | None) -> Candidate:
    """The baseline, with its figure on the samples that rank."""
    manifest, accuracy = ranked.manifest, ranked.manifest.accuracy
    assert accuracy is not None
    figure = quality_of(accuracy.metric, accuracy.value, accuracy.agreement)
    latency_ms = None if latency is None else latency.p50_ns / 1e6
    return Candidate(BASELINE_KEY, manifest.format.value, figure, latency_ms, manifest.artifact.size_bytes)


def _value(ranked: Parent) -> float | None:
    """Of the baseline: its metric, else its agreement."""
    accuracy = ranked.manifest.accuracy
    assert accuracy is not None
    return accuracy.agreement if accuracy.value is None else accuracy.value


def _metric(ranked: Parent) -> str:
    """The metric that decides; "" when it is agreement."""
    accuracy = ranked.manifest.accuracy
    return accuracy.metric if accuracy is not None and accuracy.value is not None else ""
