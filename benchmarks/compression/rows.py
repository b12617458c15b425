"""What the benchmark says of each variant, each goal and each comparison: plain rows, for JSON and tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.compression.goals import Reached


@dataclass(frozen=True, slots=True)
class Row:
    """One variant of one template on one task. Ratios are teacher / variant of one format; None = not measured."""

    task: str
    template: str
    variant: str
    format: str
    is_kept: bool
    reason: str  # why it was dropped
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    samples: int
    teacher_accuracy: float | None
    accuracy_share: float | None  # of the teacher's, sample by sample
    share_low: float | None
    share_high: float | None
    agreement: float | None  # with the teacher, on the same samples
    control: float | None  # accuracy of the same chain from scratch with labels alone, on the same samples
    own_controls: tuple[str, ...]  # what each pass that trained says: with it : without, fp32, validation samples
    parent: str  # the variant that it was made from
    macs_ratio: float | None  # multiplications of the teacher / its own
    size_bytes: int
    transit_bytes: int
    size_ratio: float
    transit_ratio: float
    latency_ms: float | None
    teacher_ms: float | None
    latency_ratio: float | None
    latency_ratio_low: float | None
    latency_ratio_high: float | None
    is_noisy: bool  # others wanted the CPU meanwhile, or nobody knows
    cpu_pressure: float | None  # percent, the higher one of before and after
    student_size_ratio: float | None  # the student's fp32 file, trained alone / variant
    student_latency_ratio: float | None
    student_accuracy: float | None
    heads_before: int | None = None  # of all attentions; None = no pass counted heads
    heads_after: int | None = None
    effects: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def reached(self) -> Reached:
        """What a goal looks at."""
        return Reached(
            self.size_ratio,
            self.latency_ratio,
            self.accuracy_share,
            self.share_low,
            self.share_high,
            self.latency_ratio_low,
            self.latency_ratio_high,
            self.is_noisy,
        )


@dataclass(frozen=True, slots=True)
class TemplateRun:
    """One template on one task."""

    task: str
    template: str
    rows: tuple[Row, ...]
    failed: tuple[str, ...]  # "variant: reason"
    wall_s: float  # of all passes when they were computed
    elapsed_s: float  # of this run, from the cache where it could


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """One teacher in one format."""

    task: str
    about: str
    format: str
    params: int
    size_bytes: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    samples: int
    trained_on: int  # samples
    epochs: int
    wall_s: float
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Beside:
    """Ours in turns with another way: how many times faster ours is, with the range that 95 % of rounds keep."""

    ratio: float
    ratio_low: float
    ratio_high: float
    is_noisy: bool


@dataclass(frozen=True, slots=True)
class SideRow:
    """One way of doing the same thing to the same model with the same samples; without figures it failed."""

    task: str
    comparison: str  # "static int8, ONNX"
    way: str  # "onnxruntime's defaults", "muster"
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    agreement: float | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None  # fp32 / this
    is_noisy: bool = False
    ours: Beside | None = None  # None: this is ours
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole benchmark."""

    machine: str
    seed: int
    is_whole: bool  # every task, every template, full budgets
    is_quiet: bool  # no latency was measured under pressure
    teachers: tuple[TeacherRow, ...]
    runs: tuple[TemplateRun, ...]
    sides: tuple[SideRow, ...] = ()
    missing: tuple[str, ...] = field(default_factory=tuple)  # parts that could not be run, with the reason
    elapsed_s: float = 0.0
    made_s: float = 0.0  # of this run: what was not in the cache yet
    computed_s: float = 0.0  # wall seconds of teachers, templates and controls when computed, one thread each
