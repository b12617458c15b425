"""Train with the rounding that int8 will bring; the result is a float model that loses next to nothing to it."""

from __future__ import annotations

from pydantic import Field

from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.training.settings import FitSettings


class QatSettings(Settings):
    """How the rounding is imitated, and for how long."""

    fit: FitSettings
    weight_bits: int = Field(
        8, ge=2, le=8
    )  # below 8: fewer values in an int8 file, which then packs smaller in transit
    freeze_after: float = Field(0.7, ge=0, le=1)  # share of the steps after which batch normalisation is frozen
    keep_zeros: bool = True  # weights that are zero stay zero: pruning before this pass is not undone
    teacher: str = ""  # learn from this branch's answers besides the labels, as in distill; "" = labels alone
    temperature: float = Field(4.0, gt=0, le=100)
    alpha: float = Field(0.9, ge=0, le=1)
    control: bool = True  # train as long without rounding, then round, and compare


SETTINGS = QatSettings


def apply(model: WorkingModel, settings: QatSettings, context: PassContext) -> PassOutput:
    """Give back the same module with weights that stand rounding.

    Raises:
        PassError: nothing to round, no such teacher, nothing to train or calibrate on, or a training that diverged.
    """
    from muster_compression.fake_quant.run import run

    return run(model, settings, context)
