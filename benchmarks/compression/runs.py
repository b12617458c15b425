"""One template on one task through the product's own API, judged on the whole test set and timed in pairs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.compression import derived
from benchmarks.compression.ask import Memory
from benchmarks.compression.baselines import Baseline
from benchmarks.compression.measure import PairLatency, Subject
from benchmarks.compression.rows import Row, TemplateRun
from muster_compression.artifact import transit_bytes
from muster_compression.orders import RecipeResult, StepResult, VariantResult
from muster_compression.process import Limits, OnProgress, part_of
from muster_compression.recipe import Recipe, load_recipe
from muster_compression.run_recipe import run_recipe
from muster_protos.errors import MusterError
from muster_protos.model import Format

_WALL_S = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs on one task share."""

    task: str
    both: Mapping[Format, Baseline]
    folder: Path
    cache: Path  # of the product
    memory: Memory
    seed: int
    share: float  # of the templates' epochs


@dataclass(frozen=True, slots=True)
class _Control:
    """The same chain without a teacher, by variant and format, and the student in fp32 by format."""

    accuracies: Mapping[tuple[str, Format], float]
    students: Mapping[Format, VariantResult]


def run_template(bench: Bench, template: str, on_progress: OnProgress) -> TemplateRun:
    """Every variant that the template gives, in both formats, dropped ones too."""
    began_s = time.monotonic()
    recipe = derived.in_small(template, bench.share, bench.folder / "recipes")
    template = load_recipe(template).name
    results, failed = _made(bench, recipe, template, part_of(on_progress, 0.0, 0.6, template))
    control_recipe = derived.control_of(recipe, bench.folder / "recipes")
    control, control_failed = _Control({}, {}), list[str]()
    if control_recipe:
        report = part_of(on_progress, 0.6, 0.2, f"{template} without a teacher")
        made, control_failed = _made(bench, control_recipe, f"{template}-control", report)
        control = _control(bench, made)
    rows = []
    variants = _with_whole_chains([item for result in results for item in result.variants], load_recipe(recipe))
    for index, item in enumerate(variants):
        on_progress(0.8 + 0.2 * index / len(variants), f"{template}: measuring {item.manifest.name}")
        rows.append(_row(bench, template, item, control))
    return TemplateRun(
        task=bench.task,
        template=template,
        rows=tuple(rows),
        failed=(*failed, *(f"control of {line}" for line in control_failed)),
        wall_s=_wall_s(results),
        elapsed_s=time.monotonic() - began_s,
    )


def _with_whole_chains(variants: Sequence[VariantResult], recipe: Recipe) -> list[VariantResult]:
    """Each with the passes of those before it that it was made from: their controls and heads are its own, too."""
    parents = {item.name: item.parent for item in recipe.variants}
    chains: dict[str, tuple[StepResult, ...]] = {}
    found = []
    for item in variants:
        name = item.manifest.name
        chain = (*chains.get(parents.get(name, ""), ()), *item.steps)
        chains[name] = chain
        found.append(replace(item, steps=chain))
    return found


def _made(bench: Bench, recipe: str, name: str, on_progress: OnProgress) -> tuple[list[RecipeResult], list[str]]:
    """The recipe on the torch source, and what of it begins with a TFLite file on that."""
    for_files = derived.for_tflite_files(recipe, bench.folder / "recipes")
    orders = [(Format.ONNX, recipe), *([(Format.TFLITE, for_files)] if for_files else [])]
    results, failed = [], []
    for index, (format_, wanted) in enumerate(orders):
        report = part_of(on_progress, index / len(orders), 1 / len(orders))
        out = bench.folder / "variants" / name / format_.value
        try:
            result = run_recipe(
                bench.both[format_].imported.parent,
                wanted,
                out,
                report,
                seed=bench.seed,
                cache_dir=bench.cache,
                limits=Limits(wall_s=_WALL_S),
            )
        except MusterError as error:
            failed.append(f"{name}: {error}")
            continue
        results.append(result)
        failed += [f"{item.name}: {item.reason}" for item in result.failed]
    return results, failed


def _control(bench: Bench, results: Sequence[RecipeResult]) -> _Control:
    accuracies, students = {}, {}
    for item in (variant for result in results for variant in result.variants):
        format_ = item.manifest.format
        found = bench.memory.accuracy(_subject(bench, item), bench.both[format_].samples)
        if item.manifest.name.startswith(derived.STUDENT):
            students[format_] = item
        if found.value is not None:
            accuracies[item.manifest.name, format_] = found.value
    return _Control(accuracies, students)


def _row(bench: Bench, template: str, item: VariantResult, control: _Control) -> Row:
    format_ = item.manifest.format
    baseline, subject = bench.both[format_], _subject(bench, item)
    accuracy = bench.memory.accuracy(subject, baseline.samples)
    pair = bench.memory.pair(baseline.subject, subject, baseline.samples)
    size, transit = item.manifest.artifact.size_bytes, transit_bytes(item.artifact_path)
    control_accuracy, control_is = _control_of(item, control)
    student = control.students.get(format_)
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
        agreement=accuracy.agreement,
        control=control_accuracy,
        control_is=control_is,
        size_bytes=size,
        transit_bytes=transit,
        size_ratio=baseline.size_bytes / size,
        transit_ratio=transit_bytes(baseline.imported.artifact_path) / transit,
        latency_ms=pair.second_ms,
        teacher_ms=pair.first_ms,
        latency_ratio=pair.ratio,
        latency_ratio_low=pair.ratio_low,
        latency_ratio_high=pair.ratio_high,
        cpu_pressure=pair.cpu_percent,
        student_size_ratio=None if student is None else student.manifest.artifact.size_bytes / size,
        student_latency_ratio=None if student is None else _against(bench, student, subject, baseline).ratio,
        heads_before=next(iter(_counts(item.steps, "heads_before")), None),
        heads_after=next(iter(reversed(_counts(item.steps, "heads_after"))), None),
        effects=tuple(f"{step.pass_name}: {step.effect}" for step in item.steps),
        sha256=item.manifest.artifact.sha256,
    )


def _control_of(item: VariantResult, control: _Control) -> tuple[float | None, str]:
    """The deployed control where a teacher took part; else what the last pass that trained says of its own."""
    known = control.accuracies.get((item.manifest.name, item.manifest.format))
    if known is not None:
        return known, "the same chain without a teacher"
    for step in reversed(item.steps):
        for name, value in step.figures.items():
            if name.endswith("_control") and not isinstance(value, str):
                return float(value), f"{step.pass_name}'s own, on the validation samples"
    return None, "" if any("train" in line for line in _notes(item.steps)) else "nothing was trained"


def _counts(steps: Sequence[StepResult], name: str) -> list[int]:
    """What each pass says that counted, in order."""
    return [int(step.figures[name]) for step in steps if name in step.figures]


def _notes(steps: Sequence[StepResult]) -> Iterator[str]:
    return (f"{step.pass_name} {step.effect}" for step in steps)


def _against(bench: Bench, student: VariantResult, subject: Subject, baseline: Baseline) -> PairLatency:
    return bench.memory.pair(_subject(bench, student), subject, baseline.samples)


def _subject(bench: Bench, item: VariantResult) -> Subject:
    """Behind the signature of its own format's baseline, whose layout needs no conversion."""
    return Subject(item.artifact_path, item.manifest.format, bench.both[item.manifest.format].imported.signature)


def _wall_s(results: Sequence[RecipeResult]) -> float:
    """Of every pass once: variants share beginnings."""
    chains = [item.steps for result in results for item in result.variants]
    chains += [item.steps for result in results for item in result.failed]
    steps = [step for chain in chains for step in chain]
    return sum({(step.pass_name, step.effect, step.wall_s): step.wall_s for step in steps}.values())
