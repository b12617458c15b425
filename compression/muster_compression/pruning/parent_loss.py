"""Fine-tuning a pruned module on the answers of the module it came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from muster_compression.task import TaskKind
from muster_compression.training.batches import Batch
from muster_compression.training.losses import Loss, as_logits, outputs_in_order


def with_parent(parent: nn.Module, loss: Loss, kind: TaskKind, temperature: float, weight: float) -> Loss:
    """``(1 - weight)`` of the task's loss and ``weight`` of the distance to the parent's answers.

    Classes: temperature squared times the divergence of the softened answers (Hinton, Vinyals, Dean, 2015). Else the
    mean squared error. ``parent`` is in eval mode and is not trained.
    """

    def both(module: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted = outputs_in_order(parent(*batch.inputs))[0].reshape(len(batch.labels), -1)
        answers: list[Tensor] = []
        handle = module.register_forward_hook(
            lambda _module, _inputs, answer: answers.append(outputs_in_order(answer)[0])
        )
        try:
            own = loss(module, batch)
        finally:
            handle.remove()
        found = answers[-1].reshape(len(batch.labels), -1)
        return (1 - weight) * own + weight * _distance(found, wanted, kind, temperature)

    return both


def _distance(found: Tensor, wanted: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    if kind != "classification":
        return functional.mse_loss(found, wanted)
    soft = functional.log_softmax(as_logits(wanted) / temperature, dim=1)
    own = functional.log_softmax(as_logits(found) / temperature, dim=1)
    return temperature**2 * functional.kl_div(own, soft, reduction="batchmean", log_target=True)
