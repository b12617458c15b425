"""The report as markdown: the tables of docs/compression-results.md, every figure from the run itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.compression.against import against_others, transformers
from benchmarks.compression.goals import Goal, verdict
from benchmarks.compression.rows import Report, Row, SideRow, TeacherRow, TemplateRun
from benchmarks.compression.tasks import TASKS

_HEAD = """# Compression results

Written by `make bench-compression`; nothing here is typed by hand.
"""
_NOT_RUN = """
**The whole benchmark has not run yet**: there are no figures until it has. `make bench-compression
DATA=<folder>` runs it and writes this file.
"""
_LEGEND = """
Accuracy is on every test sample of the development files, with its 95 % interval (Wilson); nothing is trained or tuned
on them, only the gate looks at up to 512 of them. *Of the teacher's*: the share of the teacher's accuracy that is kept,
sample by sample on the same test set, with its 95 % interval (Bonett, Price, 2012). Intervals are of the samples; every
training ran once, with one seed. *tiny* is for networks that are far too large for their task, which ResNet-20 is not
on CIFAR-10: it is not run there. Ratios are teacher / variant of the same format: 4 is four times less. Latency is of
one thread, batch 1, each variant in turns with its teacher by the loop that devices use; the ratio is the median of the
rounds, with the lowest and the highest of them. *Transit*: compressed with zstd. *Control*: the same chain from scratch
without the large teacher: the student's architecture with labels alone, trained as long, through the same later passes,
on the test set. *With : without*: what each pass that trains says of itself, on the validation samples: with the pass,
and as long without it (distill: the same student with no teacher; prune: the unpruned model; qat: trained without
rounding, then rounded). *Student*: against the fp32 file, latency and accuracy of the student trained alone: what a
bloated teacher cannot buy. Dropped variants are in the table with the reason. *Noisy*: others waited for the CPU for
more than 10 % of the time, or nobody knows, so the latency says little. Minutes are of wall time, one thread for each
training, other trainings beside it.
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
        f"{report.machine}; seed {report.seed}; {what}; "
        f"teachers, templates and controls took {report.computed_s / 60:.0f} minutes when they were "
        "computed, one thread each; "
        f"this run made what was missing in {report.made_s / 60:.0f} minutes and measured for "
        f"{report.elapsed_s / 60:.0f}{quiet}.",
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
    """Met, or missed by how much, for the variants that are named beforehand to reach a goal."""
    lines = []
    for run in runs:
        goal = TASKS[run.task].goals.get(run.template) if run.task in TASKS else None
        if goal is None:
            continue
        wanted = f">= {goal.size_ratio:g}x, >= {goal.latency_ratio:g}x, >= {goal.accuracy_share:.1%}"
        for format_, names in goal.variants.items():
            for name in names:
                row = next((item for item in run.rows if (item.variant, item.format) == (name, format_)), None)
                lines.append([run.task, run.template, wanted, f"{name} ({format_})", *_reached(goal, row, run.rows)])
    head = [
        "task", "template", "goal", "variant", "smaller", "faster", "of the teacher's accuracy", "with : without",
        "goal is",
    ]  # fmt: skip
    return _table(head, lines)


def _reached(goal: Goal, row: Row | None, rows: Sequence[Row]) -> list[str]:
    if row is None:
        return ["-", "-", "-", "-", "missed: it did not come out"]
    found = row.reached
    dropped = "" if row.is_kept else "; dropped by the gate"
    share = _interval(found.accuracy_share, found.share_low, found.share_high)
    own = "; ".join(row.own_controls) or "-"
    why = f"; {_why_slow(row, rows)}" if (found.latency_ratio or 0.0) < goal.latency_ratio else ""
    return [_times(found.size_ratio), _faster(row), share, own, verdict(goal, found) + why + dropped]


def _why_slow(row: Row, rows: Sequence[Row]) -> str:
    """Where the speed is lost: what was left to compute, and what the same network reaches in float."""
    macs = "" if row.macs_ratio is None else f"{row.macs_ratio:.1f}x fewer multiplications"
    parent = next((item for item in rows if (item.variant, item.format) == (row.parent, row.format)), None)
    if parent is None or parent.latency_ratio is None:
        return macs
    return f"{macs}, of which {parent.variant} ({parent.format}, float) makes {parent.latency_ratio:.1f}x".lstrip(", ")


def teachers(rows: Sequence[TeacherRow]) -> str:
    """What everything is compared with."""
    head = ["task", "teacher", "format", "parameters", "size", "accuracy (n)", "samples x epochs", "minutes"]
    lines = [
        [
            row.task,
            row.about,
            row.format,
            f"{row.params:,}",
            _size(row.size_bytes),
            f"{_interval(row.accuracy, row.accuracy_low, row.accuracy_high)} ({row.samples:,})",
            f"{row.trained_on:,} x {row.epochs}",
            f"{row.wall_s / 60:.1f}",
        ]
        for row in rows
    ]
    return _table(head, lines)


def variants(run: TemplateRun) -> str:
    """One template on one task."""
    head = [
        "variant", "format", "accuracy", "of the teacher's", "agreement", "control", "with : without", "size",
        "smaller", "transit", "latency", "faster", "student: smaller, faster, accuracy", "kept",
    ]  # fmt: skip
    table = _table(head, [_variant(row) for row in run.rows])
    failed = "".join(f"\n- no variant: {line}" for line in run.failed)
    wall = f"Made in {run.wall_s / 60:.1f} minutes, controls and all; measured in {run.elapsed_s / 60:.1f}."
    return f"{wall}\n\n{table}" + (f"\n{failed}" if failed else "")


def sides(rows: Sequence[SideRow]) -> str:
    """Each way beside ours."""
    head = [
        "task", "what", "way", "accuracy", "agreement", "size", "latency", "faster than fp32", "ours is faster", "note",
    ]  # fmt: skip
    lines = [
        [
            row.task,
            row.comparison,
            row.way,
            _interval(row.accuracy, row.accuracy_low, row.accuracy_high),
            _percent(row.agreement),
            "-" if row.size_bytes is None else _size(row.size_bytes),
            "-" if row.latency_ms is None else f"{row.latency_ms:.3f} ms{_noisy(row.is_noisy)}",
            _times(row.latency_ratio),
            "-" if row.ours is None else f"{row.ours.ratio:.2f}x{_range(row.ours.ratio_low, row.ours.ratio_high)}",
            row.note,
        ]
        for row in rows
    ]
    return _table(head, lines)


def _variant(row: Row) -> list[str]:
    student = "-"
    if row.student_size_ratio is not None:
        numbers = (_times(row.student_size_ratio), _times(row.student_latency_ratio), _percent(row.student_accuracy))
        student = ", ".join(numbers)
    return [
        row.variant,
        row.format,
        _interval(row.accuracy, row.accuracy_low, row.accuracy_high),
        _interval(row.accuracy_share, row.share_low, row.share_high),
        _percent(row.agreement),
        _percent(row.control),
        "; ".join(row.own_controls) or "-",
        _size(row.size_bytes),
        _times(row.size_ratio),
        f"{_size(row.transit_bytes)}, {_times(row.transit_ratio)}",
        "-" if row.latency_ms is None else f"{row.latency_ms:.3f} ms{_noisy(row.is_noisy)}",
        _faster(row),
        student,
        "yes" if row.is_kept else f"no: {row.reason}",
    ]


def _faster(row: Row) -> str:
    return f"{_times(row.latency_ratio)}{_range(row.latency_ratio_low, row.latency_ratio_high)}"


def _noisy(is_noisy: bool) -> str:
    return " noisy" if is_noisy else ""


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.2f}-{high:.2f})"


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
