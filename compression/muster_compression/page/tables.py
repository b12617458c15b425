"""The tables of one run: variants, passes, controls, what was dropped, what layers matter."""

from __future__ import annotations

from collections.abc import Iterable

from muster_compression.orders import StepResult
from muster_compression.page.bars import MOST_SHOWN, bars
from muster_compression.page.figures import count, interval, listed, number, quality, size, times
from muster_compression.page.markup import Html, element, escaped, joined, table
from muster_compression.rows import VariantRow
from muster_compression.run_file import Run

_CONTROL = "_control"
_LONG = 60


def variants(run: Run) -> Html:
    """Every figure of the baseline and of each variant."""
    head = ["#", "variant", "format", "precision", "quality (95 %)", "agreement", "SQNR", "ECE", "temperature"]
    head += ["size", "in transit", "smaller", "latency here", "faster", "params", "MACs", "sparsity"]
    return table(head, (_variant(index, row) for index, row in enumerate((run.baseline, *run.variants))))


def _variant(index: int, row: VariantRow) -> list[Html]:
    shown = f"{quality(row.accuracy, row.metric)} {interval(row.accuracy_ci, row.metric)}"
    latency = number(row.latency_ms, 3, "ms") if row.latency_ms is not None else f"– ({row.latency_reason})"
    ece = number(row.ece, 3) + ("" if row.calibrated_ece is None else f" → {row.calibrated_ece:.3g} scaled")
    cells = [
        str(index),
        f"{row.name}{'' if row.kept else ' (under the floor)'}",
        row.format,
        row.precision,
        f"{shown}, n = {row.samples}" if row.accuracy is not None else row.accuracy_reason,
        quality(row.agreement, "accuracy"),
        number(row.sqnr_db, 3, "dB"),
        ece,
        number(row.calibration_temperature, 3),
        size(row.size_bytes),
        size(row.transit_bytes),
        times(row.size_ratio),
        latency + (f" ({row.latency_reason})" if row.latency_ms is not None and row.latency_reason else ""),
        times(row.latency_ratio),
        count(row.params),
        count(row.macs),
        number(row.sparsity, 3),
    ]
    return [escaped(cell) for cell in cells]


def dropped(run: Run) -> Html:
    """What is not there, and why."""
    rows = [
        [escaped(row.name), escaped("under the floor"), escaped(row.reason)] for row in run.variants if not row.kept
    ]
    rows += [[escaped(item.name), escaped("failed"), escaped(item.reason)] for item in run.failed]
    return table(["variant", "", "reason"], rows)


def _chains(run: Run) -> Iterable[tuple[str, str, StepResult]]:
    """Every step with its variant and that one's metric."""
    for row in run.variants:
        yield from ((row.name, row.metric, step) for step in row.steps)
    for item in run.failed:
        yield from ((item.name, run.baseline.metric, step) for step in item.steps)


def passes(run: Run) -> Html:
    """What each pass did, found and took, and the quality after it."""
    rows = []
    for name, metric, step in _chains(run):
        accuracy = step.accuracy
        after = "not judged: outputs stay equal" if accuracy is None else quality(accuracy.value, metric)
        if accuracy is not None:
            after += f" {interval((accuracy.ci_low, accuracy.ci_high), metric)}"
            after += "" if accuracy.agreement is None else f", {accuracy.agreement:.1%} agree"
        seconds = f"{step.wall_s:.1f}{' (cached)' if step.is_cached else ''}"
        ended = element("span", escaped(f" {step.reason}"), class_="bad") if step.reason else Html("")
        effect = joined([escaped(step.effect), ended])
        rows.append([escaped(name), escaped(step.pass_name), effect, _figures(step), escaped(after), escaped(seconds)])
    return table(["variant", "pass", "effect", "figures", "quality after", "seconds"], rows)


def _figures(step: StepResult) -> Html:
    """In one line; long texts, such as the widths of every layer, are folded."""
    long = {key: value for key, value in step.figures.items() if isinstance(value, str) and len(value) > _LONG}
    short = {key: value for key, value in step.figures.items() if key not in long}
    folded = (
        element("details", element("summary", escaped(key.replace("_", " "))), escaped(value))
        for key, value in long.items()
    )
    return joined([escaped(listed(short)), *folded])


def controls(run: Run) -> Html:
    """Each figure that has a control beside it: ``accuracy`` and ``accuracy_control``."""
    rows, seen = [], set()
    for name, _, step in _chains(run):
        for key, control in step.figures.items():
            treated = step.figures.get(key.removesuffix(_CONTROL))
            if (
                not key.endswith(_CONTROL)
                or not isinstance(treated, (int, float))
                or not isinstance(control, (int, float))
            ):
                continue
            figure = key.removesuffix(_CONTROL)
            found = (step.pass_name, figure, treated, control, step.figures.get("n"))
            if found in seen:  # a pass that several variants share
                continue
            seen.add(found)
            low, high = (step.figures.get(f"{figure}{end}") for end in ("_low", "_high"))
            own = quality(float(treated), figure)
            if isinstance(low, float) and isinstance(high, float):
                own += f" {interval((low, high), figure)}"
            gain = float(treated) - float(control)
            cells = [name, step.pass_name, figure, own, quality(float(control), figure), f"{gain:+.4f}"]
            rows.append([escaped(cell) for cell in (*cells, step.figures.get("n", "–"))])
    if not rows:
        return Html("")
    words = "The control was trained as long on the same samples without the pass; both are judged on held-out samples."
    head = ["variant", "pass", "figure", "with the pass", "control", "difference", "n"]
    return joined([element("p", escaped(words), class_="soft"), table(head, rows)])


def sensitivities(run: Run) -> Html:
    """What passes measured of the layers, each measurement once."""
    parts, seen = [], set()
    for name, _, step in _chains(run):
        if not step.sensitivities or step.sensitivities in seen:
            continue
        seen.add(step.sensitivities)
        total = len(step.sensitivities)
        title = f"{step.pass_name} of {name}: {min(MOST_SHOWN, total)} of {total} layers"
        parts.append(element("figure", element("figcaption", escaped(title)), bars(step.sensitivities)))
    if not parts:
        return Html("")
    words = "SQNR of the model's outputs when only this layer is changed; short bars are the layers that matter most."
    return joined([element("p", escaped(words), class_="soft"), *parts])
