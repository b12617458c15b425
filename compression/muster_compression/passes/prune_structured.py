"""Fewer channels, filters and attention heads: a smaller network of the same kind, faster on every runtime."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.training.settings import FitSettings


class PruneStructuredSettings(Settings):
    """One of ``ratio``, ``macs`` and ``params`` says how much; none means a ratio of 0.5."""

    ratio: float | None = Field(None, ge=0, lt=1)  # of all channels that can leave, removed; 0 = heads only
    macs: float | None = Field(None, gt=0, lt=1)  # of the multiplications, left
    params: float | None = Field(None, gt=0, lt=1)  # of the parameters, left
    heads: float | None = Field(None, ge=0, lt=1)  # of each attention's heads, removed; none = decided as channels are
    tolerance: float = Field(0.03, gt=0, le=0.5)  # of the target
    importance: Literal["l2", "bn-scale", "taylor"] = "l2"  # which channels of a layer leave first
    layers: Literal["uniform", "sensitivity", "importance"] = "uniform"  # which layers lose how much
    max_ratio: float = Field(0.85, gt=0, lt=1)  # no layer loses more
    protect_share: float = Field(0.1, ge=0, le=0.9)  # with sensitivity: of the layers, the most sensitive stay whole
    keep: tuple[str, ...] = ()  # paths of layers whose channels or heads all stay
    round_to: int = Field(1, ge=1, le=256)  # channels that stay: nearest multiple
    steps: int = Field(3, ge=1, le=50)
    step_epochs: int = Field(1, ge=0, le=1000)  # of training between two steps
    samples: int = Field(256, ge=8, le=10_000)  # to measure importance and sensitivity on
    fit: FitSettings | None = None  # fine-tuning after the last step; none = no training at all
    teacher: Literal["none", "parent"] = "none"  # parent: fine-tune on the unpruned model's answers too
    temperature: float = Field(4.0, gt=0, le=100)
    teacher_weight: float = Field(0.7, ge=0, le=1)
    control: bool = True  # with fit: train the unpruned model as long and compare

    @model_validator(mode="after")
    def _one(self) -> PruneStructuredSettings:
        given = [name for name in ("ratio", "macs", "params") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of ratio, macs and params, found {' and '.join(given)}")
        if self.ratio == 0 and not self.heads:
            raise ValueError("expected heads above 0 with a ratio of 0, found nothing to remove")
        if self.teacher == "parent" and self.fit is None:
            raise ValueError("expected fit with teacher: parent")
        return self


SETTINGS = PruneStructuredSettings


def apply(model: WorkingModel, settings: PruneStructuredSettings, context: PassContext) -> PassOutput:
    """Take channels and heads out step by step, fine-tune in between, compare with the unpruned model.

    Raises:
        PassError: nothing can leave, the target is out of reach, no samples to train or compare on, or it diverged.
        MissingExtraError: torch-pruning is not installed.
    """
    from muster_compression.pruning.structured import run

    return run(model, settings, context)
