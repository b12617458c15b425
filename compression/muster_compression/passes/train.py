"""Train all weights on the task's own loss: a first training, a fine-tuning, or the control of another pass."""

from __future__ import annotations

from muster_compression.passes.port import PassContext, PassOutput, PassRecord, Settings, WorkingModel
from muster_compression.training.settings import FitSettings


class TrainSettings(Settings):
    """How long and how."""

    fit: FitSettings = FitSettings(epochs=5)


SETTINGS = TrainSettings


def apply(model: WorkingModel, settings: TrainSettings, context: PassContext) -> PassOutput:
    """Train on the labelled training samples.

    Raises:
        PassError: there are none, or the training diverges.
    """
    from muster_compression.torch_model import load_module, save_module
    from muster_compression.training.fit import fit
    from muster_compression.training.score import accuracy_of

    samples = context.training_of("train")
    held_out = None if context.holdout is None else context.holdout_of("train")
    module = load_module(model)
    record = fit(module, samples, settings.fit, context, name="train")
    effect = (
        f"{record.epochs} epochs over {len(samples)} samples, loss {record.losses[0]:.3g} to {record.losses[-1]:.3g}"
    )
    figures: dict[str, float | int | str] = {"epochs": record.epochs, "loss": record.losses[-1]}
    if held_out is not None:
        found = accuracy_of(module, held_out, context.signature)
        if found.value is None:  # few samples may be of one class
            figures["holdout_unknown"] = found.unavailable_reason
        else:
            figures["holdout"] = found.value
    return PassOutput(
        save_module(module, context.folder / "trained.torch"),
        PassRecord("train", effect, ("torch",), figures=figures),
    )
