"""The shape of a pass.

A pass knows nothing of recipes, caches, floors or manifests. What it needs besides the model comes in the context:
samples, a scratch folder, a seed, and the models of other branches (teachers, controls) by name. So post-training,
training and composing passes have one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from muster_compression.dataset.splits import Array
from muster_protos.errors import PermanentError
from muster_protos.model import Signature


class Form(Enum):
    """What a model is while it is being changed."""

    ONNX = "onnx"
    TFLITE = "tflite"
    TORCH = "torch"


class PassError(PermanentError):
    """A pass cannot take this model, or its effect is missing."""


class Settings(BaseModel):
    """Settings of a pass; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class WorkingModel:
    """A model between two passes."""

    path: Path
    form: Form


@dataclass(frozen=True, slots=True)
class PassContext:
    """What a pass may use besides the model."""

    folder: Path  # scratch; the output goes here too
    signature: Signature
    calibration: Mapping[str, Array]  # canonical inputs joined along axis 0; empty = no samples
    seed: int
    on_progress: Callable[[float, str], None]
    branches: Mapping[str, WorkingModel] = field(default_factory=dict)  # finished variants of the recipe by name


@dataclass(frozen=True, slots=True)
class PassRecord:
    """What a pass really did."""

    pass_name: str
    effect: str  # for people: "41 of 42 weights to float16"
    tools: tuple[str, ...]  # distributions that took part
    target_hint: str = "any"  # "x86", "arm", "any"
    calibration_count: int = 0


@dataclass(frozen=True, slots=True)
class PassOutput:
    """The changed model and what was done to it."""

    model: WorkingModel
    record: PassRecord


S_contra = TypeVar("S_contra", bound=Settings, contravariant=True)


class PassFunction(Protocol[S_contra]):
    """The work itself."""

    def __call__(self, model: WorkingModel, settings: S_contra, context: PassContext) -> PassOutput:
        """Change ``model``.

        Raises:
            PassError: it cannot take this model, or nothing changed.
            MissingExtraError: its library is not installed.
        """
        ...
