"""The pass ``qat``: train rounded, put the weights back, train the control, compare both rounded."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from muster_compression.comparison import Comparison
from muster_compression.dataset.splits import Split
from muster_compression.example_inputs import example_tensors
from muster_compression.fake_quant.module import FakeQuantized
from muster_compression.part_of import part_of
from muster_compression.passes.port import PassContext, PassError, PassOutput, PassRecord, WorkingModel
from muster_compression.passes.qat import QatSettings
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.batched import check_takes_batches
from muster_compression.training.batches import steps_per_epoch
from muster_compression.training.environment import reproducible
from muster_compression.training.fit import fit
from muster_compression.training.losses import Loss
from muster_compression.training.score import accuracy_of
from muster_compression.zeros import zero_keeper
from muster_protos.model import Accuracy

_CALIBRATION_SAMPLES = 256


def run(model: WorkingModel, settings: QatSettings, context: PassContext) -> PassOutput:
    """See ``passes.qat.apply``."""
    context.training_of("qat"), context.holdout_of("qat")
    module = load_module(model)
    if settings.fit.batch_size > 1:
        check_takes_batches(module, example_tensors(context, 1), "qat")
    control = copy.deepcopy(module)
    samples, loss = _lesson(settings, context)
    with reproducible(context.threads):
        rounded = _fake_quantized(module, settings, context)
        before = _rounded_accuracy(module, settings, context)
    keep = _keeper(module, settings)
    steps = settings.fit.epochs * steps_per_epoch(len(samples), settings.fit.batch_size)

    def after_step(done: int) -> None:
        keep(done)
        if done >= settings.freeze_after * steps and not bool(rounded.is_frozen):
            rounded.freeze()

    share = 0.45 if settings.control else 0.9
    report = part_of(context.on_progress, 0.05, share)
    fit(rounded, samples, settings.fit, context, name="qat", loss=loss, after_step=after_step, on_progress=report)
    rounded.snap()
    comparison = Comparison(
        _rounded_accuracy(module, settings, context),
        _control(control, samples, loss, settings, context) if settings.control else None,
    )
    figures = comparison.figures() | {
        "products_rounded": rounded.products,
        "activations_rounded": len(rounded.ranges),
        "weight_bits": settings.weight_bits,
        "zeros": sum(int((module.get_parameter(name) == 0).sum()) for name in rounded.weights),
    }
    if before.value is not None:
        figures[f"{before.metric}_post_training"] = round(before.value, 6)
    bits = "" if settings.weight_bits == 8 else f" ({settings.weight_bits} bits of weights)"
    effect = (
        f"{rounded.products} products trained with int8 rounding{bits}; rounded, "
        f"{comparison.sentence('the model trained as long without')}"
    )
    return PassOutput(
        save_module(module, context.folder / "qat.torch"), PassRecord("qat", effect, ("torch",), figures=figures)
    )


def _fake_quantized(module: nn.Module, settings: QatSettings, context: PassContext) -> FakeQuantized:
    """Calibrated.

    Raises:
        PassError: the module calls nothing that a quantizer would round.
    """
    rounded = FakeQuantized(module.eval(), example_tensors(context, 1), settings.weight_bits)
    if rounded.products == 0:
        raise PassError("qat changed nothing: the model calls no convolution or linear layer")
    rounded.calibrate(example_tensors(context, _CALIBRATION_SAMPLES))
    return rounded


def _rounded_accuracy(module: nn.Module, settings: QatSettings, context: PassContext) -> Accuracy:
    """Of the module as a runtime's quantizer would leave it: ranges from calibration samples, nothing trained."""
    with reproducible(context.threads):
        rounded = _fake_quantized(module, settings, context)
        return accuracy_of(rounded, context.holdout_of("qat"), context.signature)


def _control(
    module: nn.Module, samples: Split, loss: Loss | None, settings: QatSettings, context: PassContext
) -> Accuracy:
    """Trained as long, on the same loss, then rounded."""
    fit(
        module,
        samples,
        settings.fit,
        context,
        name="qat-control",
        loss=loss,
        after_step=_keeper(module, settings),
        on_progress=part_of(context.on_progress, 0.5, 0.5),
    )
    return _rounded_accuracy(module, settings, context)


def _lesson(settings: QatSettings, context: PassContext) -> tuple[Split, Loss | None]:
    """Samples and loss; with a teacher its answers lie behind the samples."""
    samples = context.training_of("qat")
    if not settings.teacher:
        return samples, None
    from muster_compression.distillation.lesson import Lesson, Weights
    from muster_compression.distillation.teacher import FrozenTeacher, remembered, teacher_of
    from muster_compression.training.losses import task_loss

    asked = FrozenTeacher(teacher_of(settings.teacher, context, "qat"), [], context.task.kind)
    told = None if settings.fit.augment else remembered(asked, samples)
    lesson = Lesson(
        asked,
        task_loss(context.task.kind, settings.fit),
        context.task.kind,
        Weights(settings.alpha, settings.temperature, 0.0),
        (),
        nn.ModuleList(),
        inputs=len(samples.inputs),
    )
    return told or samples, lesson


def _keeper(module: nn.Module, settings: QatSettings) -> Callable[[int], None]:
    return zero_keeper(module) if settings.keep_zeros else lambda _: None
