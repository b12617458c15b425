"""What a run shows to people: its lineage as a tree, with the figures that decide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from muster_compression.frontier import dominators
from muster_compression.page.figures import interval
from muster_compression.rows import VariantRow
from muster_compression.run_file import Run
from muster_compression.search.point import SearchSummary, Verdict
from muster_protos.metric_names import is_share

COLUMNS = 120
"""What a line may take where nobody says otherwise."""

_DOUBTED = "*"
_BEST = "frontier"
_WITH_INTERVALS = 110


@dataclass(frozen=True, slots=True)
class _Look:
    """How each line is written."""

    best: frozenset[str]  # ids of variants on the frontier
    has_intervals: bool


def as_tree(run: Run, columns: int = COLUMNS) -> str:
    """The lineage with the figures that decide; dropped and failed variants below it.

    ``frontier`` stands at variants that no other of their format, the baseline included, is nowhere worse than.
    Intervals are left out where a line has few columns.
    """
    look = _Look(_frontier(run), columns >= _WITH_INTERVALS)
    lines = [_line(f"{run.model} {run.baseline.name}", run.baseline, look)]
    known = {row.variant_id for row in run.variants if row.kept}
    children: dict[str, list[VariantRow]] = {}
    for row in run.variants:
        if row.kept:
            parent = row.parent if row.parent in known else run.baseline.variant_id
            children.setdefault(parent, []).append(row)
    lines += _branches(run.baseline.variant_id, children, look, " ")
    lines += _doubts(run)
    lines += [f"dropped: {row.name}: {row.reason}" for row in run.variants if not row.kept]
    lines += [f"failed: {item.name}: {item.reason}" for item in run.failed]
    return "\n".join([*lines, *(_search_lines(run.search) if run.search else ())])


def _search_lines(search: SearchSummary) -> list[str]:
    """Which samples the points were ranked on, then each with what became of it; the chosen ones with both figures."""
    lines = [f"points were ranked on {search.ranked_on}"] if search.ranked_on else []
    for item in search.verdicts:
        values = ", ".join(f"{name} = {value}" for name, value in item.point.values.items())
        lines.append(f"{item.point.key}: {item.reason} ({values or 'no free parameters'}){_both(item, search)}")
    return lines


def _both(item: Verdict, search: SearchSummary) -> str:
    """What it was ranked by, and what it came to on samples that it was not chosen by."""
    if item.judged is None or not search.is_ranked_apart:
        return ""
    ranked = _quality(item.point.metric, item.point.accuracy, item.point.agreement)
    judged = _quality(item.judged.metric, item.judged.accuracy, item.judged.agreement)
    return f": held-out {ranked}, judged {judged}" + (" (under the floor there)" if item.judged.under_floor else "")


def _quality(metric: str, value: float | None, agreement: float | None) -> str:
    if value is not None:
        return f"{metric} {_figure(value, metric)}"
    return "unknown" if agreement is None else f"agreement {agreement:.1%}"


def _frontier(run: Run) -> frozenset[str]:
    """Variant ids on it; none where nothing came out that the baseline could be compared with."""
    rows = [run.baseline, *(row for row in run.variants if row.kept)]
    behind = dominators([row.candidate for row in rows])
    return frozenset(row.variant_id for row in rows if row.name not in behind) if len(rows) > 1 else frozenset()


def _doubts(run: Run) -> list[str]:
    """What the mark at latencies means: each kind of reason once, with its first figure."""
    found: dict[str, str] = {}
    for row in (run.baseline, *run.variants):
        for reason in row.latency_reason.split("; ") if row.kept and _is_doubted(row) else ():
            found.setdefault(re.split(r"[\d:]", reason)[0], reason)
    return [f"{_DOUBTED} latency with doubts: {'; '.join(found.values())}"] if found else []


def _is_doubted(row: VariantRow) -> bool:
    return row.latency_ms is not None and bool(row.latency_reason)


def _branches(parent: str, children: Mapping[str, list[VariantRow]], look: _Look, indent: str) -> list[str]:
    """Children below their parents."""
    rows = children.get(parent, [])
    lines = []
    for index, row in enumerate(rows):
        is_last = index == len(rows) - 1
        lines.append(_line(f"{indent}{'└─' if is_last else '├─'} {row.name}", row, look))
        lines += _branches(row.variant_id, children, look, f"{indent}{'   ' if is_last else '│  '}")
    return lines


def _line(head: str, row: VariantRow, look: _Look) -> str:
    quality = "no labels" if row.accuracy is None else f"{row.metric} {_figure(row.accuracy, row.metric)}"
    if look.has_intervals and row.accuracy is not None:
        quality += f" {interval(row.accuracy_ci, row.metric)}"
    agreement = "" if row.agreement is None else f"agreement {row.agreement:.1%}"
    latency = "" if row.latency_ms is None else f"{_digits(row.latency_ms)} ms{_DOUBTED * _is_doubted(row)} here"
    if row.parent:
        latency += "" if row.latency_ratio is None else f" ({row.latency_ratio:.1f}x)"
    size = f"{_size(row.size_bytes):>9}" + (f" ({row.size_ratio:.1f}x)" if row.parent else "")
    mark = _BEST if row.variant_id in look.best else ""
    width = 27 if look.has_intervals else 18
    return f"{head:<28} {quality:<{width}} {agreement:<18} {size:<17} {mark:<8} {latency}".rstrip()


def _digits(value: float) -> str:
    """Three significant ones: ``0.0130``, ``2.00``, ``1234``."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _figure(value: float, metric: str) -> str:
    return f"{value:.1%}" if is_share(metric) else f"{value:.4g}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
