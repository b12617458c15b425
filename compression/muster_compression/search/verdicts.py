"""What becomes of the points: the frontier of each format, and for every other one the reason."""

from __future__ import annotations

from collections.abc import Sequence

from muster_compression.frontier import Candidate, dominators, quality_of
from muster_compression.page.figures import quality, size
from muster_compression.search.point import Point, Verdict
from muster_protos.metric_names import is_error_metric

BASELINE_KEY = "the baseline"


def verdicts(points: Sequence[Point], baseline: Candidate, baseline_metric: str) -> list[Verdict]:
    """In the order of the points. ``baseline`` stands with the key ``the baseline`` and competes, too."""
    first: dict[str, Point] = {}
    for point in points:
        if not point.failed and not point.under_floor:
            first.setdefault(point.sha256, point)
    competing = [baseline, *(candidate_of(point) for point in first.values())]
    by_key = {item.key: item for item in competing}
    behind = dominators(competing)
    alike: dict[tuple[str, tuple[float, float, float]], str] = {}
    found = []
    for point in points:
        if point.failed:
            reason = f"failed: {point.failed}"
        elif point.under_floor:
            reason = f"under the floor: {point.under_floor}"
        elif (same := first[point.sha256]) is not point:
            reason = f"the same bytes as {same.key}"
        elif point.key in behind:
            reason = _dominated(candidate_of(point), by_key[behind[point.key]], baseline_metric)
        elif (twin := alike.setdefault(_figures(point), point.key)) != point.key:
            reason = f"no figure differs from those of {twin}"
        else:
            found.append(Verdict(point, True, "on the frontier"))
            continue
        found.append(Verdict(point, False, reason))
    return found


def _figures(point: Point) -> tuple[str, tuple[float, float, float]]:
    return point.format, candidate_of(point).costs


def candidate_of(point: Point) -> Candidate:
    """What decides about a point."""
    figure = quality_of(point.metric, point.accuracy, point.agreement)
    return Candidate(point.key, point.format, figure, point.latency_ms, point.size_bytes)


def _dominated(loser: Candidate, winner: Candidate, metric: str) -> str:
    """Who is nowhere worse, with the figures of both."""
    parts = []
    if loser.quality is not None and winner.quality is not None:
        sign = -1 if is_error_metric(metric) else 1  # candidates hold errors negated; r2 may be negative itself
        figures = [quality(sign * (item.quality or 0.0) + 0.0, metric or "accuracy") for item in (winner, loser)]
        parts.append(f"{metric or 'agreement'} {figures[0]} against {figures[1]}")
    if loser.latency_ms is not None and winner.latency_ms is not None:
        parts.append(f"{winner.latency_ms:.3g} against {loser.latency_ms:.3g} ms")
    parts.append(f"{size(winner.size_bytes)} against {size(loser.size_bytes)}")
    return f"dominated by {winner.key}: {', '.join(parts)}"
