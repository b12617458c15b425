"""The shape of a pass.

A pass knows nothing of recipes, caches, floors or manifests. What it needs besides the model comes in the context:
samples, a scratch folder, a seed, and the models of other branches (teachers, controls) by name. So post-training,
training and composing passes have one shape.

A pass's module is imported wherever a recipe is checked, on hosts without torch too: it imports torch, onnxruntime and
the like inside its functions only, or keeps the heavy part in a package of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from muster_compression.dataset.splits import Array, Split
from muster_compression.sensitivity.layer import LayerSensitivity
from muster_compression.task import Task, task_of
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

    @property
    def user_code(self) -> tuple[tuple[Path, str], ...]:
        """File and function of user's code besides the model's own, whose classes the result is made of."""
        return ()


@dataclass(frozen=True, slots=True)
class WorkingModel:
    """A model between two passes.

    ``identity`` names what is in a file whose bytes do not say it all: a torch form depends on the user's code too.
    "" = the file's own sha256.
    """

    path: Path
    form: Form
    identity: str = ""


@dataclass(frozen=True, slots=True)
class PassContext:
    """What a pass may use besides the model."""

    folder: Path  # scratch; the output goes here too
    signature: Signature
    calibration: Mapping[str, Array]  # canonical inputs joined along axis 0; empty = no samples
    seed: int
    on_progress: Callable[[float, str], None]
    branches: Mapping[str, WorkingModel] = field(default_factory=dict)
    """Finished variants of the recipe by name, and ``baseline``; all torch forms for a pass that takes torch models."""
    training: Split | None = None  # labelled, canonical inputs, rows on axis 0; None = the data have none
    holdout: Split | None = None  # labelled samples that neither train nor judge
    checkpoints: Path | None = None  # survives a kill; the same for the same pass, input and settings; None = no resume
    threads: int = 1

    @property
    def task(self) -> Task:
        """What the model is there for; the training labels decide where the signature does not state it."""
        return task_of(self.signature, None if self.training is None else self.training.labels)

    def training_of(self, pass_name: str) -> Split:
        """The training samples.

        Raises:
            PassError: the data have none; the message says what to add.
        """
        return _given(self.training, f"{pass_name} trains: expected labelled training samples")

    def holdout_of(self, pass_name: str, fewest: int = 1) -> Split:
        """Labelled samples that neither train nor judge.

        Raises:
            PassError: the data have none, or fewer than ``fewest``; the message says what to add.
        """
        wanted = f"{pass_name} compares on samples that neither train nor judge"
        found = _given(self.holdout, wanted)
        if len(found) < fewest:
            raise PassError(
                f"{wanted}: expected at least {fewest} of them, found {len(found)}; add more to x_train and y_train, "
                "of which a tenth is held out, or to x_val and y_val where x_test judges"
            )
        return found


def _given(split: Split | None, wanted: str) -> Split:
    if split is None:
        raise PassError(f"{wanted}, found none; add x_train and y_train to the data")
    return split


@dataclass(frozen=True, slots=True)
class PassRecord:
    """What a pass really did."""

    pass_name: str
    effect: str  # for people: "41 of 42 weights to float16"
    tools: tuple[str, ...]  # distributions that took part
    target_hint: str = "any"  # "x86", "arm", "any"
    calibration_count: int = 0
    figures: Mapping[str, float | int | str] = field(
        default_factory=dict
    )  # {"sparsity": 0.8, "accuracy_control": 0.97}
    sensitivities: tuple[LayerSensitivity, ...] = ()  # what the pass measured of the layers, for the report


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
