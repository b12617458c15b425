"""Layers as products of smaller ones: SVD for linear layers and 1 x 1 convolutions, Tucker-2 for k x k ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.training.settings import FitSettings


class LowRankSettings(Settings):
    """``ratio`` or ``energy`` decides the ranks; neither means a ratio of 0.5."""

    ratio: float | None = Field(None, gt=0, lt=1)  # of the factorable layers' measure together, taken by sensitivity
    measure: Literal["macs", "params"] = "macs"
    energy: float | None = Field(None, gt=0, lt=1)  # of the squared singular values, in each layer
    least_sqnr_db: float = Field(10.0, ge=-100, le=200)  # with energy: layers that alone cost more stay as they are
    keep: tuple[str, ...] = ()  # paths of layers that stay as they are
    samples: int = Field(48, ge=1, le=2000)  # to measure sensitivity on; no labels needed
    fit: FitSettings | None = None  # fine-tuning; none = no training
    control: bool = True  # with fit: fine-tune the unfactored model as long and compare

    @model_validator(mode="after")
    def _one(self) -> LowRankSettings:
        if self.ratio is not None and self.energy is not None:
            raise ValueError("expected ratio or energy, found both")
        return self


SETTINGS = LowRankSettings


def apply(model: WorkingModel, settings: LowRankSettings, context: PassContext) -> PassOutput:
    """Factor the layers where parameters and multiplications both fall; fine-tune when asked to.

    Raises:
        PassError: no layer can be made smaller, the ratio is out of reach, or there is nothing to fine-tune on.
    """
    from muster_compression.low_rank.run import run

    return run(model, settings, context)
