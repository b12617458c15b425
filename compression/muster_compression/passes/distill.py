"""A smaller network learns from a larger one's answers, and is compared with itself trained as long without them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, computed_field

from muster_compression.code_identity import imported_files
from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.sources.kind import split_torch
from muster_compression.training.settings import FitSettings


class ShrunkStudent(Settings):
    """The teacher's architecture with ``ratio`` of its channels and heads."""

    ratio: float = Field(gt=0, le=1)
    keep_weights: bool = False  # start from the teacher's largest channels instead of anew


class DistillSettings(Settings):
    """Who learns what from whom."""

    student: str | ShrunkStudent | None = None  # "file.py:function", {ratio: 0.25}; none = the model that comes in
    teacher: str = "baseline"  # or the name of an earlier variant
    temperature: float = Field(4.0, gt=0, le=100)
    alpha: float = Field(0.9, ge=0, le=1)  # share of the teacher's answers in the loss; the rest is the labels'
    features: Literal["none", "auto"] | tuple[tuple[str, str], ...] = "none"  # [student layer, teacher layer]
    feature_weight: float = Field(1.0, gt=0, le=1000)
    fit: FitSettings
    control: bool = True  # train the same student as long on labels alone and compare

    @computed_field  # type: ignore[prop-decorator]
    @property
    def student_sha256(self) -> str:
        """Of the student's file and what it imports from its folder, so that a changed one is trained anew."""
        digest = hashlib.sha256()
        for path in (path for path, _ in self.user_code if path.is_file()):
            with contextlib.suppress(SyntaxError):  # it will be told when the file is run
                for used in sorted(imported_files(path, path.parent)):
                    digest.update(str(used.relative_to(path.parent)).encode() + used.read_bytes())
        return digest.hexdigest() if self.user_code else ""

    @property
    def user_code(self) -> tuple[tuple[Path, str], ...]:
        """The student's."""
        named = split_torch(self.student) if isinstance(self.student, str) else None
        return ((named[0].resolve(), named[1]),) if named else ()


SETTINGS = DistillSettings


def apply(model: WorkingModel, settings: DistillSettings, context: PassContext) -> PassOutput:
    """Train the student.

    Raises:
        PassError: no teacher of that name, a student that answers in other shapes, features that do not fit, nothing
            to train on, or a training that diverged.
        NotFoundError: the student's file or function is not there.
    """
    from muster_compression.distillation.run import run

    return run(model, settings, context)
