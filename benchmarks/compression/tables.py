"""The report as markdown: the tables of docs/compression-results.md, every figure from the run itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.compression.against import against_others, transformers
from benchmarks.compression.goals import verdict
from benchmarks.compression.rows import Report, Row, SideRow, TeacherRow, TemplateRun
from benchmarks.compression.tasks import TASKS
from benchmarks.rig.machine import QUIET_PERCENT

_HEAD = """# Compression results

Written by `make bench-compression`; nothing here is typed by hand.
"""
_NOT_RUN = """
**The whole benchmark has not run yet**: there are no figures until it has. `make bench-compression
DATA=<folder>` runs it and writes this file.
"""
_LEGEND = """
Accuracy is on the whole test set with its 95 % interval (Wilson); nothing is trained or tuned on it, only the gate
looks at up to 512 samples of it. Ratios are teacher /
variant of the same format: 4 is four times less. Latency is of one thread, batch 1, each variant in turns with its
teacher by the loop that devices use; the ratio is the median of the rounds, with the range that 95 % of them keep.
*Transit*: compressed with zstd. *Control*: trained as long without the pass; "own" is the pass's own, on the
validation samples. *Student*: against the student's fp32 file and latency, trained alone: what a large teacher cannot
buy. Dropped variants are in the table with the reason. *Noisy*: others waited for the CPU for more than 10 % of the
time, so the latency says little.
"""


def document(report: Report | None) -> str:
    """The whole page; without a report, or with one of a part only, it says that there are no figures yet."""
    if report is None or not report.is_whole:
        return _HEAD + _NOT_RUN
    return _HEAD + "\n" + markdown(report)


def markdown(report: Report) -> str:
    """Machine, goals, teachers, variants, comparisons."""
    what = "whole benchmark" if report.is_whole else "**a part, or in small: no result**"
    quiet = "" if report.is_quiet else "; **other work ran on the machine: latencies marked noisy say little**"
    parts = [
        f"{report.machine}; seed {report.seed}; {what}, {report.elapsed_s / 60:.0f} min{quiet}.",
        _LEGEND.strip(),
        "## Goals\n\n" + goals(report.runs),
        "## Teachers\n\n" + teachers(report.teachers),
        *(f"## {run.task}: {run.template}\n\n" + variants(run) for run in report.runs),
    ]
    heads = transformers([row for run in report.runs for row in run.rows])
    if heads:
        parts.append("## Attention heads\n\n" + "\n".join(f"- {line}" for line in heads))
    if report.sides:
        verdicts = "\n".join(f"- {line}" for line in against_others(report.sides))
        parts.append(f"## Side by side\n\n{sides(report.sides)}\n\n{verdicts}")
    if report.missing:
        parts.append("## Not run\n\n" + "\n".join(f"- {line}" for line in report.missing))
    return "\n\n".join(parts) + "\n"


def goals(runs: Sequence[TemplateRun]) -> str:
    """Met, or missed by how much."""
    lines = []
    for run in runs:
        goal = TASKS[run.task].goals.get(run.template) if run.task in TASKS else None
        if goal is None:
            continue
        kept = [row.reached for row in run.rows if row.is_kept]
        found = verdict(goal, kept or [row.reached for row in run.rows])
        wanted = f">= {goal.size_ratio:g}x, >= {goal.latency_ratio:g}x, >= {goal.accuracy_share:.1%}"
        if found is None:
            lines.append([run.task, run.template, wanted, "-", "-", "-", "-", "missed: nothing came out"])
            continue
        best = found.reached
        text = "met" if found.is_met else f"missed: {found.text}"
        lines.append(
            [
                run.task,
                run.template,
                wanted,
                best.variant if kept else f"{best.variant}, dropped",
                _times(best.size_ratio),
                _times(best.latency_ratio),
                _percent(best.accuracy_share),
                text,
            ]
        )
    head = ["task", "template", "goal", "best variant", "smaller", "faster", "of the teacher's accuracy", "goal is"]
    return _table(head, lines)


def teachers(rows: Sequence[TeacherRow]) -> str:
    """What everything is compared with."""
    head = ["task", "teacher", "format", "parameters", "size", "accuracy (n)", "epochs", "minutes", "images/s"]
    lines = [
        [
            row.task,
            row.about,
            row.format,
            f"{row.params:,}",
            _size(row.size_bytes),
            f"{_interval(row.accuracy, row.accuracy_low, row.accuracy_high)} ({row.samples:,})",
            str(row.epochs),
            f"{row.wall_s / 60:.1f}",
            f"{row.images_per_s:.0f}",
        ]
        for row in rows
    ]
    return _table(head, lines)


def variants(run: TemplateRun) -> str:
    """One template on one task."""
    head = [
        "variant", "format", "accuracy", "agreement", "control", "size", "smaller", "transit", "latency",
        "faster", "than the student: smaller, faster", "kept",
    ]  # fmt: skip
    table = _table(head, [_variant(row) for row in run.rows])
    failed = "".join(f"\n- no variant: {line}" for line in run.failed)
    wall = f"Passes {run.wall_s / 60:.1f} min when they were computed; this run {run.elapsed_s / 60:.1f} min."
    return f"{wall}\n\n{table}" + (f"\n{failed}" if failed else "")


def sides(rows: Sequence[SideRow]) -> str:
    """Each way beside ours."""
    head = ["task", "what", "way", "accuracy", "agreement", "size", "latency", "faster than fp32", "note"]
    lines = [
        [
            row.task,
            row.comparison,
            row.way,
            _interval(row.accuracy, row.accuracy_low, row.accuracy_high),
            _percent(row.agreement),
            "-" if row.size_bytes is None else _size(row.size_bytes),
            "-" if row.latency_ms is None else f"{row.latency_ms:.3f} ms",
            _times(row.latency_ratio),
            row.note,
        ]
        for row in rows
    ]
    return _table(head, lines)


def _variant(row: Row) -> list[str]:
    own = " (own)" if row.control is not None and "own" in row.control_is else ""
    noisy = " noisy" if (row.cpu_pressure or 0.0) > QUIET_PERCENT else ""
    spread = ""
    if row.latency_ratio_low is not None and row.latency_ratio_high is not None:
        spread = f" ({row.latency_ratio_low:.1f}-{row.latency_ratio_high:.1f})"
    student = "-"
    if row.student_size_ratio is not None:
        student = f"{_times(row.student_size_ratio)}, {_times(row.student_latency_ratio)}"
    return [
        row.variant,
        row.format,
        _interval(row.accuracy, row.accuracy_low, row.accuracy_high),
        _percent(row.agreement),
        "-" if row.control is None else f"{_percent(row.control)}{own}",
        _size(row.size_bytes),
        _times(row.size_ratio),
        f"{_size(row.transit_bytes)}, {_times(row.transit_ratio)}",
        "-" if row.latency_ms is None else f"{row.latency_ms:.3f} ms{noisy}",
        f"{_times(row.latency_ratio)}{spread}",
        student,
        "yes" if row.is_kept else f"no: {row.reason}",
    ]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in row) + " |" for row in rows
    )


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" + ("" if low is None or high is None else f" ({100 * low:.1f}-{100 * high:.1f})")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}x"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1e3:.1f} kB"
