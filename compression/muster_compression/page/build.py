"""The whole page of one run or search."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from muster_compression.frontier import dominators
from muster_compression.page.figures import quality, size
from muster_compression.page.lineage import lineage
from muster_compression.page.markup import Html, element, escaped, section, table, void
from muster_compression.page.plot import Axes, Spot, plot
from muster_compression.page.search_section import search_section
from muster_compression.page.style import STYLE
from muster_compression.page.tables import controls, dropped, passes, sensitivities, variants
from muster_compression.progress import duration
from muster_compression.recipe import parse_yaml
from muster_compression.run_file import Run
from muster_protos.metric_names import is_error_metric


def page_of(run: Run) -> str:
    """One document in UTF-8 that loads nothing else."""
    body = [
        _header(run),
        section("Lineage", lineage(run)),
        _plots(run),
        section("Variants", variants(run)),
        section("Dropped and failed", dropped(run)),
        section("Passes", passes(run)),
        section("Controls", controls(run)),
        section("Sensitivities", sensitivities(run)),
        search_section(run),
        section("Recipe", element("pre", escaped(run.asked.recipe_yaml))),
        section("Environment", _environment(run)),
        section(
            "Notes", element("ul", *(element("li", escaped(note)) for note in run.notes)) if run.notes else Html("")
        ),
    ]
    title = escaped(f"{run.model}: {_recipe_name(run)}")
    head = [
        void("meta", charset="utf-8"),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1"/>'),
        void("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("title", title),
        element("style", Html(STYLE)),
    ]
    document = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _header(run: Run) -> Html:
    kept = sum(row.kept for row in run.variants)
    waiting = sum(item.is_parent_missing for item in run.failed)
    torch_forms = sum(item.is_under_floor for item in run.failed)
    missed, failed = len(run.variants) - kept + torch_forms, len(run.failed) - torch_forms - waiting
    depend = f"{waiting} start from one of those, " if waiting else ""
    made = datetime.fromtimestamp(run.made_at_ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    asked = run.asked
    facts = [f"source {asked.source}", f"data {asked.data or 'none: inputs were generated'}"]
    facts += [f"floor {asked.floor or 'none'}", f"seed {asked.seed}", made, f"took {duration(run.wall_s)}"]
    return element(
        "header",
        element("h1", escaped(f"{run.model}, recipe {_recipe_name(run)}")),
        element(
            "p", escaped(f"{kept} variants kept, {missed} under the floor, {depend}{failed} failed.{_points(run)}")
        ),
        element("p", escaped(" · ".join(facts)), class_="soft"),
    )


def _recipe_name(run: Run) -> str:
    """Its own, else that of its file."""
    raw = parse_yaml(run.asked.recipe_yaml, run.asked.recipe)
    name = raw.get("name") if isinstance(raw, dict) else None
    return str(name or run.asked.recipe)


def _points(run: Run) -> str:
    """What a search tried, by what became of it: the floor and the frontier drop for different reasons."""
    if run.search is None:
        return ""
    found = run.search.verdicts
    failed = sum(bool(item.point.failed) for item in found)
    missed = sum(bool(item.point.under_floor) for item in found)
    chosen = sum(item.is_chosen for item in found)
    rest = len(found) - failed - missed - chosen
    return (
        f" Of {len(found)} points {chosen} were on the frontier, {rest} behind or equal to another, {missed} under the "
        f"floor; {failed} failed."
    )


def _plots(run: Run) -> Html:
    metric = run.baseline.metric if run.baseline.accuracy is not None else "agreement"
    is_less = is_error_metric(metric)
    by_size = plot(_spots(run, "size"), Axes("size (MB, log scale)", metric, is_less))
    by_latency = plot(_spots(run, "latency"), Axes("latency on this host (ms, one thread, log scale)", metric, is_less))
    parts = [
        element("figure", svg, element("figcaption", escaped(words)))
        for svg, words in (
            (by_size, f"{metric} over size"),
            (by_latency, f"{metric} over latency on this host; devices decide"),
        )
        if svg
    ]
    if not parts:
        return Html("")
    legend = (
        "Numbers as in the table of variants; 0 is the baseline. Circles are ONNX, diamonds TFLite. Filled is on the "
        "frontier over quality, latency and size of its format, hollow is behind another one, crossed out is under the "
        "floor, small and grey was tried by the search. Whiskers are 95 % intervals. The dashed line is the best "
        "quality up to each cost."
    )
    if run.search is not None and run.search.is_ranked_apart:
        legend += " What was only tried stands with its figure on held-out samples, the rest with those that judge."
    return section("Frontier", element("div", *parts, class_="plots"), element("p", escaped(legend), class_="soft"))


def _spots(run: Run, axis: str) -> list[Spot]:
    rows = [run.baseline, *run.variants]
    behind = dominators([row.candidate for row in rows if row.kept])
    spots = []
    for index, row in enumerate(rows):
        cost = row.size_bytes / 1e6 if axis == "size" else row.latency_ms
        value = row.agreement if run.baseline.accuracy is None else row.accuracy
        if cost is None or value is None:
            continue
        kind = "kept" if row.kept else "dropped"
        kind = "behind" if row.kept and row.name in behind else kind
        low, high = row.agreement_ci if run.baseline.accuracy is None else row.accuracy_ci
        title = f"{row.name} ({row.format}): {quality(value, row.metric)}, {size(row.size_bytes)}"
        title += "" if row.latency_ms is None else f", {row.latency_ms:.3g} ms"
        title += f"; behind {behind[row.name]}" if kind == "behind" else "" if row.kept else f"; {row.reason}"
        spots.append(Spot(str(index), title, kind if index else "baseline", row.format, cost, value, low, high))
    return spots + _tried(run, axis)


def _tried(run: Run, axis: str) -> list[Spot]:
    spots = []
    for verdict in run.search.verdicts if run.search else ():
        point = verdict.point
        cost = point.size_bytes / 1e6 if axis == "size" else point.latency_ms
        value = point.agreement if run.baseline.accuracy is None else point.accuracy
        if not point.failed and not verdict.is_chosen and cost is not None and value is not None:
            spots.append(Spot("", f"{point.key}: {verdict.reason}", "tried", point.format, cost, value))
    return spots


def _environment(run: Run) -> Html:
    where = run.environment
    cores = "–" if not math.isfinite(where.cores) else f"{where.cores:g}"
    facts = [("CPU", where.cpu), ("cores", cores), ("system", where.os), ("Python", where.python)]
    rows = [[escaped(name), escaped(value)] for name, value in [*facts, *sorted(where.tools.items())]]
    return table(["", ""], rows)
