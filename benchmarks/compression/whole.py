"""The benchmark part by part: teachers, templates, comparisons; what is done already comes from the cache."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compression.ask import Memory
from benchmarks.compression.baselines import Baseline, baselines
from benchmarks.compression.plan import SIDE_S, TEMPLATE_S, Part, Progress, teacher_s
from benchmarks.compression.prepare import prepared
from benchmarks.compression.rows import Report, SideRow, TeacherRow, TemplateRun
from benchmarks.compression.runs import Bench, run_template
from benchmarks.compression.sides import pruners, quantizers
from benchmarks.compression.tasks import TASKS, Task
from benchmarks.compression.teachers import Teacher, trained
from benchmarks.rig.machine import QUIET_PERCENT, describe_machine
from muster_protos.errors import MusterError
from muster_protos.model import Format

SIDE_BY_SIDE = "side-by-side"
_PACKAGES = ("torch", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch-pruning")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which parts, and how much of them."""

    data_folder: Path
    cache: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    templates: tuple[str, ...] = ()  # names, or YAML files of one's own; none named = all
    has_sides: bool = True
    seed: int = 0
    share: float = 1.0  # of all epochs; below 1 it is a trial and no result
    rounds: int = 15  # of each pair's latency

    @property
    def is_whole(self) -> bool:
        """Whether this is the benchmark rather than a part of it."""
        return self.tasks == tuple(TASKS) and not self.templates and self.has_sides and self.share == 1.0

    def wanted(self, task: Task) -> tuple[str, ...]:
        """The templates of ``task`` that were asked for, and every recipe that is a file."""
        files = [name for name in self.templates if name.endswith(".yaml")]
        return (*(name for name in task.templates if not self.templates or name in self.templates), *files)


def benchmark(asked: Asked) -> Report:
    """Run what was asked for. A part that fails is told in the report and the others go on."""
    began_s = time.monotonic()
    progress = Progress(parts_of(asked))
    teachers: list[TeacherRow] = []
    runs: list[TemplateRun] = []
    sides: list[SideRow] = []
    missing: list[str] = []
    for name in asked.tasks:
        task = TASKS[name]
        data = prepared(task.prepare, asked.data_folder, asked.cache / "data")
        teacher, both = _teacher(asked, task, data, progress)
        teachers += _teacher_rows(task, teacher, both)
        bench = Bench(
            task=name,
            both=both,
            folder=_folder(asked, name),
            cache=asked.cache / "passes",
            memory=_memory(asked),
            seed=asked.seed,
            share=asked.share,
        )
        for template in asked.wanted(task):
            report = progress.begin(f"{name}/{template}")
            try:
                runs.append(run_template(bench, template, report))
            except MusterError as error:
                missing.append(f"{name}/{template}: {error}")
            progress.end()
        if _has_sides(asked, task):
            report = progress.begin(f"{name}/{SIDE_BY_SIDE}")
            try:
                sides += [*quantizers(bench, report), *pruners(bench, teacher.source, data, report)]
            except MusterError as error:
                missing.append(f"{name}/{SIDE_BY_SIDE}: {error}")
            progress.end()
    return Report(
        machine=describe_machine(*_PACKAGES),
        seed=asked.seed,
        is_whole=asked.is_whole and not missing,
        is_quiet=all((row.cpu_pressure or 0.0) <= QUIET_PERCENT for run in runs for row in run.rows),
        teachers=tuple(teachers),
        runs=tuple(runs),
        sides=tuple(sides),
        missing=tuple(missing),
        elapsed_s=time.monotonic() - began_s,
    )


def parts_of(asked: Asked) -> list[Part]:
    """In the order in which they are done."""
    parts = []
    for name in asked.tasks:
        task = TASKS[name]
        parts.append(Part(f"{name}/teacher", asked.share * teacher_s(task.fit.epochs, task.samples, task.images_per_s)))
        parts += [Part(f"{name}/{item}", asked.share * TEMPLATE_S.get(item, 600.0)) for item in asked.wanted(task)]
        if _has_sides(asked, task):
            parts.append(Part(f"{name}/{SIDE_BY_SIDE}", asked.share * SIDE_S))
    return parts


def _teacher(asked: Asked, task: Task, data: Path, progress: Progress) -> tuple[Teacher, Mapping[Format, Baseline]]:
    report = progress.begin(f"{task.name}/teacher")
    epochs = max(1, round(asked.share * task.fit.epochs))
    folder = _folder(asked, task.name) / "teacher"
    settings = task.fit.model_copy(update={"epochs": epochs})
    teacher = trained(task, data, folder, settings, lambda ratio, note: report(0.9 * ratio, note))
    both = baselines(
        task.name,
        teacher.source,
        data,
        _folder(asked, task.name) / "baselines",
        _memory(asked),
        lambda ratio, note: report(0.9 + 0.1 * ratio, note),
    )
    progress.end()
    return teacher, both


def _teacher_rows(task: Task, teacher: Teacher, both: Mapping[Format, Baseline]) -> list[TeacherRow]:
    return [
        TeacherRow(
            task=task.name,
            about=task.about,
            format=format_.value,
            params=teacher.params,
            size_bytes=baseline.size_bytes,
            accuracy=baseline.accuracy.value,
            accuracy_low=baseline.accuracy.ci_low,
            accuracy_high=baseline.accuracy.ci_high,
            samples=baseline.accuracy.n,
            epochs=teacher.epochs,
            wall_s=teacher.wall_s,
            images_per_s=teacher.images_per_s,
        )
        for format_, baseline in both.items()
    ]


def _has_sides(asked: Asked, task: Task) -> bool:
    """Of every CNN: the transformer has no channels to prune by default settings."""
    return asked.has_sides and "transformer" not in task.templates


def _folder(asked: Asked, name: str) -> Path:
    """Of one task; a trial does not touch the real one."""
    return asked.cache / (name if asked.share == 1.0 else f"{name}.share-{asked.share:g}")


def _memory(asked: Asked) -> Memory:
    return Memory(asked.cache / "measured", asked.rounds)
