"""The benchmark part by part: what is done already comes from the cache. First all is made, then all is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.compression.ask import Memory
from benchmarks.compression.baselines import Baseline, baselines
from benchmarks.compression.making import Bench, make_template
from benchmarks.compression.plan import SIDE_S, TEMPLATE_S, Part, Progress, teacher_s
from benchmarks.compression.prepare import prepared
from benchmarks.compression.rows import Report, SideRow, TeacherRow, TemplateRun
from benchmarks.compression.runs import measure_template
from benchmarks.compression.sides import make_sides, measure_sides
from benchmarks.compression.tasks import TASKS, Task
from benchmarks.compression.teachers import Teacher, trained
from benchmarks.rig.machine import describe_machine
from muster_compression.part_of import OnProgress
from muster_compression.recipe import load_recipe
from muster_protos.errors import MusterError, PermanentError
from muster_protos.model import Format

SIDE_BY_SIDE = "side-by-side"
ROUNDS = 15
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
    rounds: int = ROUNDS  # of each pair's latency

    @property
    def is_whole(self) -> bool:
        """Whether this is the benchmark rather than a part of it."""
        is_all = self.tasks == tuple(TASKS) and not self.templates and self.has_sides
        return is_all and self.share == 1.0 and self.rounds >= ROUNDS

    def wanted(self, task: Task) -> tuple[str, ...]:
        """The templates of ``task`` that were asked for, and every recipe that is a file."""
        files = [name for name in self.templates if name.endswith(".yaml")]
        return (*(name for name in task.templates if not self.templates or name in self.templates), *files)


def make(asked: Asked) -> tuple[str, ...]:
    """Train and compress what was asked for, into the cache; measures no latency. Returns what failed."""
    progress = Progress(parts_of(asked))
    return tuple(
        line for name in asked.tasks for line in _task(asked, TASKS[name], progress, _Rows(), is_measured=False)
    )


def benchmark(asked: Asked, made_s: float = 0.0) -> Report:
    """Make what is not made yet, and measure. A part that fails is told in the report and the others go on.

    ``made_s`` has been spent before on making what was not in the cache.
    """
    began_s = time.monotonic()
    progress = Progress(parts_of(asked))
    rows = _Rows()
    missing = [line for name in asked.tasks for line in _task(asked, TASKS[name], progress, rows, is_measured=True)]
    variants = [row for run in rows.runs for row in run.rows]
    noisy = [*(row.is_noisy for row in variants), *(row.is_noisy for row in rows.sides)]
    noisy += [row.ours.is_noisy for row in rows.sides if row.ours is not None]
    return Report(
        machine=describe_machine(*_PACKAGES),
        seed=asked.seed,
        is_whole=asked.is_whole,
        is_quiet=not any(noisy),
        teachers=tuple(rows.teachers),
        runs=tuple(rows.runs),
        sides=tuple(rows.sides),
        missing=tuple(missing),
        elapsed_s=time.monotonic() - began_s,
        made_s=made_s,
        computed_s=sum({row.task: row.wall_s for row in rows.teachers}.values()) + sum(run.wall_s for run in rows.runs),
    )


@dataclass(slots=True)
class _Rows:
    """What has been measured so far."""

    teachers: list[TeacherRow] = field(default_factory=list)  # one per format
    runs: list[TemplateRun] = field(default_factory=list)
    sides: list[SideRow] = field(default_factory=list)


def _task(asked: Asked, task: Task, progress: Progress, rows: _Rows, is_measured: bool) -> list[str]:
    """One task; returns what could not be done, with the reason."""
    missing: list[str] = []

    def attempt(part: str, do: Callable[[OnProgress], None]) -> bool:
        report = progress.begin(f"{task.name}/{part}")
        try:
            do(report)
        except MusterError as error:
            missing.append(f"{task.name}/{part}: {error}")
        progress.end()
        return not missing

    found: list[_Ready] = []
    if not attempt("teacher", lambda report: found.append(_ready(asked, task, report))):
        for _ in _later_parts(asked, task):
            progress.skip()
        return missing
    ready = found[0]
    rows.teachers += _teacher_rows(task, ready.teacher, ready.bench.both)

    def template(name: str, report: OnProgress) -> None:
        made = make_template(ready.bench, name, report)
        if is_measured:
            rows.runs.append(measure_template(ready.bench, load_recipe(name).name, made, report))
        elif made.failed:
            raise PermanentError("; ".join(made.failed))

    def sides(report: OnProgress) -> None:
        ways = make_sides(ready.bench, ready.teacher.source, ready.data, report)
        if is_measured:
            rows.sides += measure_sides(ready.bench, ways)

    for name in asked.wanted(task):
        attempt(name, partial(template, name))
    if _has_sides(asked, task):
        attempt(SIDE_BY_SIDE, sides)
    return missing


@dataclass(frozen=True, slots=True)
class _Ready:
    """A task that can begin."""

    teacher: Teacher
    bench: Bench
    data: Path


def parts_of(asked: Asked) -> list[Part]:
    """In the order in which they are done."""
    parts = []
    for name in asked.tasks:
        task = TASKS[name]
        parts.append(Part(f"{name}/teacher", asked.share * teacher_s(task.fit.epochs, task.samples, task.images_per_s)))
        parts += _later_parts(asked, task)
    return parts


def _later_parts(asked: Asked, task: Task) -> list[Part]:
    """Those that need the teacher."""
    parts = [Part(f"{task.name}/{item}", asked.share * TEMPLATE_S.get(item, 600.0)) for item in asked.wanted(task)]
    if _has_sides(asked, task):
        parts.append(Part(f"{task.name}/{SIDE_BY_SIDE}", asked.share * SIDE_S))
    return parts


def _ready(asked: Asked, task: Task, report: OnProgress) -> _Ready:
    data = prepared(task.prepare, asked.data_folder, asked.cache / "data")
    folder = _folder(asked, task.name)
    settings = task.fit.model_copy(update={"epochs": max(1, round(asked.share * task.fit.epochs))})
    teacher = trained(task, data, folder / "teacher", settings, lambda ratio, note: report(0.9 * ratio, note))
    memory = Memory(asked.cache / "measured", asked.rounds)
    both = baselines(
        task.name,
        teacher.source,
        data,
        folder / "baselines",
        memory,
        lambda ratio, note: report(0.9 + 0.1 * ratio, note),
    )
    bench = Bench(task.name, both, folder, asked.cache / "passes", memory, asked.seed, asked.share)
    return _Ready(teacher, bench, data)


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
            trained_on=task.samples,
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
