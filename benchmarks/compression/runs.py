"""What one template gave on one task: judged on the whole test set, timed in pairs with the teacher."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.compression import derived
from benchmarks.compression.making import Bench, Made
from benchmarks.compression.measure import Subject
from benchmarks.compression.rows import Row, TemplateRun
from muster_compression.artifact import transit_bytes
from muster_compression.orders import StepResult, VariantResult
from muster_compression.part_of import OnProgress
from muster_protos.model import Format


@dataclass(frozen=True, slots=True)
class _Control:
    """The same chain without a teacher, by variant and format, and the student in fp32 by format."""

    accuracies: Mapping[tuple[str, Format], float]
    students: Mapping[Format, VariantResult]


def measure_template(bench: Bench, template: str, made: Made, on_progress: OnProgress) -> TemplateRun:
    """Every variant, dropped ones too."""
    began_s = time.monotonic()
    control = _control(bench, made.controls)
    rows = []
    for index, item in enumerate(made.variants):
        on_progress(index / len(made.variants), f"{template}: measuring {item.manifest.name}")
        rows.append(_row(bench, template, item, control))
    return TemplateRun(
        task=bench.task,
        template=template,
        rows=tuple(rows),
        failed=made.failed,
        wall_s=made.wall_s,
        elapsed_s=time.monotonic() - began_s,
    )


def subject_of(bench: Bench, item: VariantResult) -> Subject:
    """Behind the signature of its own format's baseline, whose layout needs no conversion."""
    return Subject(item.artifact_path, item.manifest.format, bench.both[item.manifest.format].imported.signature)


def _control(bench: Bench, controls: Sequence[VariantResult]) -> _Control:
    accuracies, students = {}, {}
    for item in controls:
        format_ = item.manifest.format
        found = bench.memory.judged(subject_of(bench, item), bench.both[format_].samples).accuracy
        if item.manifest.name.startswith(derived.STUDENT):
            students[format_] = item
        if found.value is not None:
            accuracies[item.manifest.name, format_] = found.value
    return _Control(accuracies, students)


def _row(bench: Bench, template: str, item: VariantResult, control: _Control) -> Row:
    format_ = item.manifest.format
    baseline, subject = bench.both[format_], subject_of(bench, item)
    judged = bench.memory.judged(subject, baseline.samples)
    accuracy, paired = judged.accuracy, judged.paired
    pair = bench.memory.pair(baseline.subject, subject, baseline.samples)
    size, transit = item.manifest.artifact.size_bytes, transit_bytes(item.artifact_path)
    student = control.students.get(format_)
    beside = None if student is None else bench.memory.pair(subject_of(bench, student), subject, baseline.samples)
    return Row(
        task=bench.task,
        template=template,
        variant=item.manifest.name,
        format=format_.value,
        is_kept=item.is_kept,
        reason=item.reason,
        accuracy=accuracy.value,
        accuracy_low=accuracy.ci_low,
        accuracy_high=accuracy.ci_high,
        samples=accuracy.n,
        teacher_accuracy=baseline.accuracy.value,
        accuracy_share=None if paired is None else paired.share,
        share_low=None if paired is None else paired.interval[0],
        share_high=None if paired is None else paired.interval[1],
        agreement=accuracy.agreement,
        control=control.accuracies.get((item.manifest.name, format_)),
        own_controls=tuple(_own_controls(item.steps)),
        parent=item.manifest.parent_variant_id.rpartition(".")[2],
        macs_ratio=_ratio(baseline.imported.manifest.macs, item.manifest.macs),
        size_bytes=size,
        transit_bytes=transit,
        size_ratio=baseline.size_bytes / size,
        transit_ratio=transit_bytes(baseline.imported.artifact_path) / transit,
        latency_ms=pair.second_ms,
        teacher_ms=pair.first_ms,
        latency_ratio=pair.ratio,
        latency_ratio_low=pair.ratio_low,
        latency_ratio_high=pair.ratio_high,
        is_noisy=pair.is_noisy or (beside is not None and beside.is_noisy),
        cpu_pressure=pair.cpu_percent,
        student_size_ratio=None if student is None else student.manifest.artifact.size_bytes / size,
        student_latency_ratio=None if beside is None else beside.ratio,
        student_accuracy=None if student is None else control.accuracies.get((student.manifest.name, format_)),
        heads_before=next(iter(_counts(item.steps, "heads_before")), None),
        heads_after=next(iter(reversed(_counts(item.steps, "heads_after"))), None),
        effects=tuple(f"{step.pass_name}: {step.effect}" for step in item.steps),
        sha256=item.manifest.artifact.sha256,
    )


def _own_controls(steps: Sequence[StepResult]) -> list[str]:
    """What each pass that trained says of itself beside its control, on the validation samples."""
    found = []
    for step in steps:
        for name, value in step.figures.items():
            treated = step.figures.get(name.removesuffix("_control"))
            if name.endswith("_control") and isinstance(value, float) and isinstance(treated, float):
                found.append(f"{step.pass_name} {treated:.2%} : {value:.2%}")
    return found


def _ratio(teacher: int | None, variant: int | None) -> float | None:
    return teacher / variant if teacher and variant else None


def _counts(steps: Sequence[StepResult], name: str) -> list[int]:
    """What each pass says that counted, in order."""
    return [int(step.figures[name]) for step in steps if name in step.figures]
