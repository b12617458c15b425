"""The pass ``distill``: make the student, teach it, train its control, compare."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from muster_compression.comparison import Comparison
from muster_compression.distillation.features import Pairs, projections, shapes_of, stage_pairs
from muster_compression.distillation.lesson import Lesson, Weights
from muster_compression.distillation.student import make_student
from muster_compression.distillation.teacher import FrozenTeacher, remembered, teacher_of
from muster_compression.example_inputs import example_tensors
from muster_compression.part_of import part_of
from muster_compression.passes.distill import DistillSettings
from muster_compression.passes.port import PassContext, PassError, PassOutput, PassRecord, WorkingModel
from muster_compression.torch_model import save_module
from muster_compression.training.environment import reproducible
from muster_compression.training.fit import fit
from muster_compression.training.losses import task_loss
from muster_compression.training.score import accuracy_of
from muster_compression.zeros import zero_keeper


def run(model: WorkingModel, settings: DistillSettings, context: PassContext) -> PassOutput:
    """See ``passes.distill.apply``."""
    samples, held_out = context.training_of("distill"), context.holdout_of("distill")
    teacher = _teacher(model, settings, context)
    with reproducible(context.threads):
        student = make_student(model, teacher, settings, context)
        pairs = _pairs(student, teacher, settings, context)
        untaught = copy.deepcopy(student)
        asked, seconds = _teach(student, teacher, pairs, settings, context)
    control = None
    if settings.control:
        report = part_of(context.on_progress, 0.55, 0.45)
        fit(
            untaught,
            samples,
            settings.fit,
            context,
            name="distill-control",
            after_step=_keeper(untaught, settings),
            on_progress=report,
        )
        control = accuracy_of(untaught, held_out, context.signature)
    comparison = Comparison(accuracy_of(student, held_out, context.signature), control)
    taught_by = accuracy_of(teacher, held_out, context.signature)
    figures = comparison.figures() | {
        "params_teacher": _params(teacher),
        "params_after": _params(student),
        "feature_pairs": len(pairs),
        "teacher_asked": asked,
        "training_s": round(seconds, 1),
    }
    if taught_by.value is not None:
        figures[f"{taught_by.metric}_teacher"] = round(taught_by.value, 6)
    effect = (
        f"a student of {_params(student)} parameters learned from {settings.teacher} ({_params(teacher)}); "
        f"{comparison.sentence('the same student trained as long without a teacher')}"
    )
    record = PassRecord("distill", effect, ("torch",), figures=figures)
    return PassOutput(save_module(student, context.folder / "distilled.torch"), record)


def _teacher(model: WorkingModel, settings: DistillSettings, context: PassContext) -> nn.Module:
    found = teacher_of(settings.teacher, context, "distill")
    if settings.student is None and context.branches[settings.teacher].path.read_bytes() == model.path.read_bytes():
        raise PassError(
            f"distill: the model that comes in is the teacher {settings.teacher} itself; name a student "
            "(file.py:function or {ratio: 0.25}) or put a pass before it that makes the model smaller"
        )
    return found


def _pairs(student: nn.Module, teacher: nn.Module, settings: DistillSettings, context: PassContext) -> Pairs:
    match settings.features:
        case "none":
            return ()
        case "auto":
            return stage_pairs(student, teacher, example_tensors(context, 2))
        case pairs:
            return pairs


def _teach(
    student: nn.Module, teacher: nn.Module, pairs: Pairs, settings: DistillSettings, context: PassContext
) -> tuple[str, float]:
    """How often the teacher was asked, and the seconds that the training took."""
    samples = context.training_of("distill")
    adapters = _projections(student, teacher, pairs, context)
    frozen = FrozenTeacher(teacher, [name for _, name in pairs], context.task.kind)
    context.on_progress(0.0, "asking the teacher")
    is_unheard = settings.alpha == 0 and not pairs
    told = None if settings.fit.augment or is_unheard else remembered(frozen, samples)
    lesson = Lesson(
        frozen,
        task_loss(context.task.kind, settings.fit),
        context.task.kind,
        Weights(settings.alpha, settings.temperature, settings.feature_weight),
        tuple(name for name, _ in pairs),
        adapters,
        inputs=len(samples.inputs),
    )
    record = fit(
        student,
        samples if told is None else told,
        settings.fit,
        context,
        name="distill",
        loss=lesson,
        extra_parameters=adapters.parameters(),
        after_step=_keeper(student, settings),
        on_progress=part_of(context.on_progress, 0.05, 0.5 if settings.control else 0.95),
    )
    if is_unheard:
        return "never", record.wall_s
    return ("each batch" if told is None else "once per sample"), record.wall_s


def _projections(student: nn.Module, teacher: nn.Module, pairs: Pairs, context: PassContext) -> nn.ModuleList:
    """Trained along and dropped afterwards."""
    inputs: tuple[Tensor, ...] = example_tensors(context, 2)
    own = shapes_of(student, [name for name, _ in pairs], inputs, "student")
    wanted = shapes_of(teacher, [name for _, name in pairs], inputs, "teacher")
    return projections(pairs, own, wanted, context.seed)


def _keeper(student: nn.Module, settings: DistillSettings) -> Callable[[int], None] | None:
    """What pruning took out of a model that comes in stays out."""
    return zero_keeper(student) if settings.student is None else None


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
