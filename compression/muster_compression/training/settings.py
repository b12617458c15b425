"""How long and how a module is trained."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from pydantic import Field

from muster_compression.passes.port import Settings

Augmentation: TypeAlias = Literal["flip", "shift", "noise", "erase"]

_WARM_UP_SHARE = 0.3
_START_RATIO, _END_RATIO = 1 / 25, 1e-5


class FitSettings(Settings):
    """A nested field ``fit:`` of the settings of a pass that trains."""

    epochs: int = Field(ge=1, le=1000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    learning_rate: float = Field(default=1e-3, gt=0, le=10)  # the highest of the schedule
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd: Nesterov momentum 0.9
    weight_decay: float = Field(default=1e-4, ge=0, le=1)  # of matrices and kernels, not of biases and normalisation
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: tuple[Augmentation, ...] = ()
    augment_misfit: Literal["refuse", "leave"] = "refuse"  # what becomes of inputs that an augmentation cannot change
    mixed_precision: bool = False  # bfloat16 arithmetic where the CPU has instructions for it


def learning_rate_at(settings: FitSettings, step: int, total: int) -> float:
    """Learning rate of ``step`` (from 0) of ``total``.

    one-cycle as in Smith and Topin, "Super-Convergence" (2018), with cosine flanks: 30 % of the steps up from 1/25 of
    the highest rate, the rest down to 1/100000; cosine as in Loshchilov and Hutter, "SGDR" (2017), without restarts.
    """
    highest = settings.learning_rate
    match settings.schedule:
        case "constant":
            return highest
        case "cosine":
            return _between(highest, 0.0, step / total)
        case "one-cycle":
            turn = max(1.0, _WARM_UP_SHARE * total)
            if step < turn:
                return _between(highest * _START_RATIO, highest, step / turn)
            return _between(highest, highest * _END_RATIO, (step - turn) / max(1.0, total - turn))


def _between(start: float, end: float, share: float) -> float:
    """Half a cosine from ``start`` to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
