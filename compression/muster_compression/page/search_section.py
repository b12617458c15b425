"""What a search tried, and why it kept what it kept."""

from __future__ import annotations

from muster_compression.page.figures import interval, number, quality, size
from muster_compression.page.markup import Html, element, escaped, section, table
from muster_compression.progress import duration
from muster_compression.run_file import Run
from muster_compression.search.point import Point, Verdict


def search_section(run: Run) -> Html:
    """The space, and every point with what became of it; nothing when nothing was searched."""
    search = run.search
    if search is None:
        return Html("")
    space = table(
        ["parameter", "domain"], ([escaped(name), escaped(domain)] for name, domain in search.parameters.items())
    )
    words = (
        f"{len(search.verdicts)} points in {duration(search.spent_s)}, budget {search.budget}; ended by {search.ended}."
    )
    methods = ", ".join(f"{variant}: {method}" for variant, method in search.methods.items())
    rows = []
    for verdict in search.verdicts:
        point = verdict.point
        cells = [point.key, ", ".join(f"{key} = {value}" for key, value in point.values.items())]
        cells += [*_outcome(point), _judged(verdict), f"{point.wall_s:.1f}"]
        fate = element(
            "span", escaped(verdict.reason), class_="good" if verdict.is_chosen else "bad" * bool(point.failed)
        )
        rows.append([*(escaped(cell) for cell in cells), fate])
    ranked = "quality, held out (95 %)" if search.is_ranked_apart else "quality (95 %)"
    head = ["point", "values", ranked, "size", "latency here", "judged (95 %)", "seconds", "what became of it"]
    where = f" Points were ranked on {search.ranked_on}." if search.ranked_on else ""
    return section(
        "Search",
        element("p", escaped(f"{words} Points were proposed by: {methods}.{where}"), class_="soft"),
        space,
        table(head, rows),
    )


def _judged(verdict: Verdict) -> str:
    """On the samples that judge; a dash where it was not chosen."""
    found = verdict.judged
    if found is None:
        return "–"
    value = found.agreement if found.accuracy is None else found.accuracy
    metric = "accuracy" if found.accuracy is None else found.metric
    shown = f"{quality(value, metric)} {interval(found.accuracy_ci, metric)}"
    return f"{shown}; {found.under_floor}" if found.under_floor else shown


def _outcome(point: Point) -> list[str]:
    if point.failed:
        return ["–", "–", "–"]
    value = point.agreement if point.accuracy is None else point.accuracy
    metric = "accuracy" if point.accuracy is None else point.metric
    shown = f"{quality(value, metric)} {interval(point.accuracy_ci, metric)}"
    return [shown, size(point.size_bytes), number(point.latency_ms, 3, "ms")]
