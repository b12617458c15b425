"""Make the frontier's points variants, judged on the samples that judge, and say what became of every point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from muster_compression.artifact import write_bytes
from muster_compression.frontier import quality_of
from muster_compression.nothing_made import NothingMadeError
from muster_compression.orders import FailedVariant, HostLatency, RecipeResult, VariantResult
from muster_compression.search.evaluate import Evaluator
from muster_compression.search.point import Judged, Point, SearchSummary, Verdict
from muster_compression.search.space import Space
from muster_protos.errors import InfeasibleError

FRONTIER_FILE = "frontier.yaml"


class NothingKeptError(InfeasibleError):
    """No point of a search is worth keeping; ``result`` and ``summary`` have every one with its steps and reason."""

    def __init__(self, message: str, result: RecipeResult, summary: SearchSummary) -> None:
        super().__init__(message)
        self.result = result
        self.summary = summary


def write_frontier(space: Space, targets: Sequence[int], summary: SearchSummary, folder: Path) -> Path:
    """The chosen points as a recipe.

    Raises:
        NothingKeptError: there are none.
    """
    found = summary.verdicts
    by_name = {space.variant_name(target): target for target in targets}
    chosen = [(by_name[item.point.variant], item.point) for item in found if item.is_chosen]
    if not chosen:
        failed = tuple(FailedVariant(item.point.key, item.reason, item.point.steps) for item in found)
        raise NothingKeptError(_why_none(found), RecipeResult((), failed), without_steps(summary))
    known = [(by_name[item.point.variant], item.point) for item in found if not item.point.failed]
    return write_bytes(folder / FRONTIER_FILE, space.frontier_yaml(chosen, known).encode())


def none_came_out(error: NothingMadeError, summary: SearchSummary) -> NothingKeptError:
    """The frontier's points could not be made on the samples that judge."""
    return NothingKeptError(
        f"no point of the frontier came out on the samples that judge: {error}", error.result, without_steps(summary)
    )


def with_judged(summary: SearchSummary, result: RecipeResult) -> SearchSummary:
    """Both figures of what was chosen."""
    made = {item.manifest.name: item for item in result.variants}
    verdicts = tuple(
        replace(item, judged=_judged(made[item.point.key])) if item.is_chosen and item.point.key in made else item
        for item in summary.verdicts
    )
    return without_steps(replace(summary, verdicts=verdicts))


def without_steps(summary: SearchSummary) -> SearchSummary:
    """Those of a variant stand beside it; those of all points fill the log."""
    bare = tuple(replace(item, point=replace(item.point, steps=())) for item in summary.verdicts)
    return replace(summary, verdicts=bare)


def with_latencies(
    result: RecipeResult,
    points: Sequence[Point],
    evaluator: Evaluator,
    baseline: tuple[HostLatency | None, str],
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
    doubts = () if point.latency_state in ("", "valid") else (f"measured as {point.latency_state}",)
    return replace(item, latency=HostLatency(round(point.latency_ms * 1e6), runtime, point.latency_state, doubts))


def _judged(item: VariantResult) -> Judged:
    found = item.manifest.accuracy
    assert found is not None
    metric = found.metric if found.value is not None else ""
    return Judged(metric, found.value, (found.ci_low, found.ci_high), found.agreement, item.reason)


def _why_none(found: Sequence[Verdict]) -> str:
    """The nearest miss: what came out at all, by quality, else the first failure."""
    came_out = [item for item in found if not item.point.failed]
    failed = len(found) - len(came_out)
    head = f"none of {len(found)} points is worth keeping ({failed} failed)"
    if not came_out:
        return f"{head}; the first: {found[0].point.failed}" if found else f"{head}; raise the budget"
    best = max(came_out, key=_rank)
    return f"{head}; the nearest is {best.point.key}, {best.reason}"


def _rank(item: Verdict) -> float:
    """Its quality; errors are below zero, and what is unknown is below all of them."""
    found = quality_of(item.point.metric, item.point.accuracy, item.point.agreement)
    return -math.inf if found is None else found
