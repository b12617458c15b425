"""One variant's chain of passes with the gate after each, up to the first miss of the floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muster_bench.errors import FaceError, ModelLoadError
from muster_compression.applying import Applied, apply_pass
from muster_compression.gate import Gated, gate
from muster_compression.orders import StepResult
from muster_compression.part_of import OnProgress, part_of
from muster_compression.pass_cache import identity_of
from muster_compression.passes.port import Form, PassError, PassRecord, WorkingModel
from muster_compression.recipe import VariantRecipe
from muster_compression.resumes import Resumes
from muster_compression.setting import Setting
from muster_protos.errors import InvalidInputError, MissingExtraError, NotFoundError

_MAKING_SHARE = 0.9  # of a pass's progress; the rest is the gate
NO_TORCH = (
    "starts from a torch module, and only the model's file is known; name its source (--model net.py:make), "
    "or take a recipe of post-training passes such as quick"
)


ENDS_A_VARIANT = (PassError, FaceError, ModelLoadError, MissingExtraError, InvalidInputError, NotFoundError)
"""What concerns one variant; the others of the run go on."""


@dataclass(frozen=True, slots=True)
class Branch:
    """What later variants may start from."""

    file: WorkingModel
    torch: WorkingModel | None


@dataclass(frozen=True, slots=True)
class Chain:
    """A variant as far as it came."""

    gated: Gated
    records: tuple[PassRecord, ...]
    steps: tuple[StepResult, ...]
    torch: WorkingModel | None  # its last torch form


class EndedError(PassError):
    """A variant that leaves no file: a pass fails, a torch form misses the floor, or its files cannot be written."""

    def __init__(self, message: str, steps: tuple[StepResult, ...]) -> None:
        super().__init__(message)
        self.steps = steps


class NoParentError(PassError):
    """What the variant starts from was dropped or could not be made."""


def run_chain(
    setting: Setting, variant: VariantRecipe, branches: Mapping[str, Branch], scratch: Path, on_progress: OnProgress
) -> Chain:
    """The passes in their order, up to the first miss of the floor.

    Raises:
        EndedError: there is no file to show for it.
    """
    steps: list[StepResult] = []
    try:
        return _passes(setting, variant, branches, scratch, steps, on_progress)
    except ENDS_A_VARIANT as error:
        raise EndedError(str(error), tuple(steps)) from error


def _start(variant: VariantRecipe, branches: Mapping[str, Branch]) -> WorkingModel:
    """What the first pass gets.

    Raises:
        NoParentError: the parent is not there.
        PassError: it has no torch form.
    """
    if variant.parent not in branches:
        raise NoParentError(f"its parent {variant.parent} was dropped or could not be made")
    branch = branches[variant.parent]
    if not variant.is_from_torch:
        return branch.file
    if branch.torch is None:
        raise PassError(NO_TORCH)
    return branch.torch


def _passes(
    setting: Setting,
    variant: VariantRecipe,
    branches: Mapping[str, Branch],
    scratch: Path,
    steps: list[StepResult],
    on_progress: OnProgress,
) -> Chain:
    """Apply and judge; ``steps`` grows as far as it comes."""
    model = _start(variant, branches)
    torch = model if model.form is Form.TORCH else None
    records: list[PassRecord] = []
    share = 1 / len(variant.passes)
    for index, step in enumerate(variant.passes):
        folder = scratch / str(index)
        folder.mkdir()
        inner = part_of(on_progress, index * share, share, step.name)
        others = _others(branches, is_torch=Form.TORCH in step.spec.takes)
        watch = Resumes(part_of(inner, 0.0, _MAKING_SHARE))
        applied = apply_pass(setting.around, step, model, folder, others, watch)
        setting.notes.extend(f"{variant.name}, {step.name}: {words}" for words in watch.told)
        model = applied.output.model
        torch = model if model.form is Form.TORCH else torch
        records.append(applied.output.record)
        is_last = index == len(variant.passes) - 1
        gated = None
        if is_last or not step.spec.is_lossless:
            gated = _gate(setting, model, part_of(inner, _MAKING_SHARE, 1 - _MAKING_SHARE))
        steps.append(_step_result(applied, gated, watch.told))
        if gated is not None and gated.dropped_reason and model.form is Form.TORCH:
            raise PassError(f"dropped after {step.name}: {gated.dropped_reason}")
        if gated is not None and (is_last or gated.dropped_reason):
            return Chain(gated, tuple(records), tuple(steps), torch)
    raise AssertionError("a recipe has at least one pass, and the last one is always judged")


def _others(branches: Mapping[str, Branch], is_torch: bool) -> dict[str, WorkingModel]:
    """Finished variants as a pass may use them: as torch forms or as files."""
    if not is_torch:
        return {name: branch.file for name, branch in branches.items()}
    return {name: branch.torch for name, branch in branches.items() if branch.torch is not None}


def _gate(setting: Setting, model: WorkingModel, on_progress: OnProgress) -> Gated:
    """The gate; a torch form that several variants go through is judged once."""
    if model.form is not Form.TORCH:
        return gate(setting.rules, model, on_progress)
    key = identity_of(model)
    if key not in setting.gated:
        setting.gated[key] = gate(setting.rules, model, on_progress)
    return setting.gated[key]


def _step_result(applied: Applied, gated: Gated | None, resumed: tuple[str, ...]) -> StepResult:
    record = applied.output.record
    return StepResult(
        record.pass_name,
        record.effect,
        record.figures,
        applied.wall_s,
        applied.is_cached,
        None if gated is None else gated.accuracy,
        "" if gated is None else gated.dropped_reason,
        record.sensitivities,
        resumed,
    )
