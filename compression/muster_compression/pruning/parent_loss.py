"""Fine-tuning a pruned module on the answers of the module it came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from muster_compression.task import TaskKind
from muster_compression.training.batches import Batch
from muster_compression.training.losses import Loss
from muster_compression.training.response import (
    ToLogits,
    responses_apart,
    student_responses,
    teacher_responses,
    way_to_logits,
)


def with_parent(parent: nn.Module, loss: Loss, kind: TaskKind, temperature: float, weight: float) -> Loss:
    """``(1 - weight)`` of the task's loss and ``weight`` of the distance to the parent's answers.

    The distance is the one of ``distill``, see ``training.response``. ``parent`` is in eval mode and is not trained.
    """
    ways: list[ToLogits] = []

    def both(module: nn.Module, batch: Batch) -> Tensor:
        if not ways:
            ways.append(way_to_logits(parent, tuple(tensor[:1] for tensor in batch.inputs), kind))
        with torch.no_grad():
            wanted = teacher_responses(parent(*batch.inputs), ways[0])
        answers: list[object] = []
        handle = module.register_forward_hook(lambda _module, _inputs, answer: answers.append(answer))
        try:
            own = loss(module, batch)
        finally:
            handle.remove()
        found = student_responses(answers[-1], kind)
        return (1 - weight) * own + weight * responses_apart(found, wanted, kind, temperature)

    return both
