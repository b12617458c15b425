"""What a module answers, and how good that is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from muster_bench.evaluate import Answers, figures
from muster_compression.dataset.splits import Array, Split
from muster_compression.passes.port import PassError
from muster_compression.task import stand_in_metric
from muster_compression.training.batches import tensor_of
from muster_compression.training.losses import outputs_in_order
from muster_protos.model import Accuracy, Signature


def score(module: nn.Module, samples: Split, signature: Signature, metric: str = "") -> float:
    """The model's own metric (or ``metric``) on labelled samples, computed as devices compute it.

    For a metric of the user's see ``accuracy_of``.

    Raises:
        PassError: no labels, or a metric that does not fit them.
    """
    found = accuracy_of(module, samples, replace(signature, metric=metric or signature.metric))
    if found.value is None:
        raise PassError(f"the model cannot be scored: {found.unavailable_reason}")
    return found.value


def accuracy_of(
    module: nn.Module, samples: Split, signature: Signature, references: dict[str, Array] | None = None
) -> Accuracy:
    """Metric with its interval, and agreement with ``references`` (outputs by name) when they are given.

    For a metric of the user's, which only the gate computes, the usual one of the task stands in: accuracy for
    classes, auc for a yes-or-no question, else mae. The answer names it.
    """
    signature = replace(signature, metric=stand_in_metric(signature, samples.labels))
    return figures(signature, answers_of(module, samples, signature, references))


def answers_of(
    module: nn.Module, samples: Split, signature: Signature, references: dict[str, Array] | None = None
) -> Answers:
    """Everything that figures are computed from.

    Raises:
        PassError: the module has another number of outputs than the signature.
    """
    outputs = outputs_of(module, samples)
    if len(outputs) != len(signature.outputs):
        raise PassError(f"expected {len(signature.outputs)} outputs as the model's, found {len(outputs)}")
    named = {spec.name: _rows(tensor.numpy()) for spec, tensor in zip(signature.outputs, outputs, strict=True)}
    labels = None if samples.labels is None else np.asarray(samples.labels).reshape(-1)
    compared = None if references is None else {name: _rows(values) for name, values in references.items()}
    inputs = {name: _rows(values) for name, values in samples.inputs.items()}
    return Answers(named, compared, inputs, labels)


def outputs_of(module: nn.Module, samples: Split, batch_size: int = 64) -> list[Tensor]:
    """Every output for all samples, joined along axis 0; the module runs in eval mode and keeps its mode.

    One that takes single rows only gets single rows.
    """
    inputs = [tensor_of(values) for values in samples.inputs.values()]
    was_training = module.training
    if was_training:
        module.eval()
    try:
        return _outputs(module, inputs, batch_size)
    except (RuntimeError, AssertionError, ValueError):
        if batch_size == 1:
            raise
        return _outputs(module, inputs, 1)
    finally:
        if was_training:
            module.train()


def _outputs(module: nn.Module, inputs: list[Tensor], batch_size: int) -> list[Tensor]:
    parts: list[list[Tensor]] = []
    with torch.inference_mode():
        for start in range(0, len(inputs[0]), batch_size):
            rows = [tensor[start : start + batch_size] for tensor in inputs]
            parts.append([tensor.float() for tensor in outputs_in_order(module(*rows))])
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)
