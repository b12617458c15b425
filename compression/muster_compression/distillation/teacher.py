"""What a teacher says to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from muster_compression.dataset.splits import Split
from muster_compression.distillation.features import Taps
from muster_compression.passes.port import PassContext, PassError
from muster_compression.task import TaskKind
from muster_compression.torch_model import load_module
from muster_compression.training.batches import tensor_of
from muster_compression.training.response import ToLogits, teacher_responses, way_to_logits

_BATCH = 64
_MOST_REMEMBERED_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows on axis 0."""

    scores: Tensor  # first output as (n, width); logits for classes
    others: tuple[Tensor, ...] = ()  # the other outputs
    features: tuple[Tensor, ...] = ()

    def flat(self) -> tuple[Tensor, ...]:
        """All tensors in one row."""
        return (self.scores, *self.others, *self.features)


class Teacher(Protocol):
    """Somebody to learn from."""

    def answers(self, inputs: tuple[Tensor, ...]) -> Answers:
        """Without gradients."""
        ...


class FrozenTeacher:
    """A trained module in eval mode; it does not learn itself."""

    def __init__(self, module: nn.Module, layers: Sequence[str], kind: TaskKind) -> None:
        self._module = module.eval()
        self._taps = Taps(layers)
        self._kind: TaskKind = kind
        self._to_logits: ToLogits | None = None

    def answers(self, inputs: tuple[Tensor, ...]) -> Answers:
        """One run."""
        if self._to_logits is None:
            self._to_logits = way_to_logits(self._module, tuple(tensor[:1] for tensor in inputs), self._kind)
        with self._taps.on(self._module), torch.no_grad():
            scores, *others = teacher_responses(self._module(*inputs), self._to_logits)
        return Answers(scores, tuple(others), self._taps.take())


def teacher_of(name: str, context: PassContext, pass_name: str) -> nn.Module:
    """The branch of that name.

    Raises:
        PassError: there is none in torch form.
    """
    found = context.branches.get(name)
    if found is None:
        known = ", ".join(sorted(context.branches)) or "none"
        raise PassError(f"{pass_name}: no teacher {name!r} in torch form; there are {known}")
    return load_module(found)


def remembered(teacher: Teacher, samples: Split) -> Split | None:
    """The samples with what the teacher says to each, as further inputs; None when that would take too much memory.

    Asked once per sample instead of once per sample and epoch, a teacher costs nearly nothing. Only right as long as
    the samples are not augmented.
    """
    inputs = [tensor_of(values) for values in samples.inputs.values()]
    one = teacher.answers(tuple(tensor[:1] for tensor in inputs)).flat()
    if len(samples) * sum(tensor.numel() * tensor.element_size() for tensor in one) > _MOST_REMEMBERED_BYTES:
        return None
    parts = [
        teacher.answers(tuple(tensor[start : start + _BATCH] for tensor in inputs)).flat()
        for start in range(0, len(samples), _BATCH)
    ]
    said = {f"teacher {index}": torch.cat(column).numpy() for index, column in enumerate(zip(*parts, strict=True))}
    return Split({**samples.inputs, **said}, samples.labels)
