"""What a module answers, and how good that is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from muster_bench.evaluate import Answers, figures
from muster_compression.dataset.splits import Array, Split
from muster_compression.passes.port import PassError
from muster_compression.training.batches import tensor_of
from muster_compression.training.losses import outputs_in_order
from muster_protos.model import Accuracy, Signature


def score(module: nn.Module, samples: Split, signature: Signature, metric: str = "") -> float:
    """The model's own metric (or ``metric``) on labelled samples, computed as devices compute it.

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
    """Metric with its interval, and agreement with ``references`` (outputs by name) when they are given."""
    outputs = outputs_of(module, samples)
    named = {spec.name: _rows(tensor.numpy()) for spec, tensor in zip(signature.outputs, outputs, strict=True)}
    labels = None if samples.labels is None else np.asarray(samples.labels).reshape(-1)
    compared = None if references is None else {name: _rows(values) for name, values in references.items()}
    inputs = {name: _rows(values) for name, values in samples.inputs.items()}
    return figures(signature, Answers(named, compared, inputs, labels))


def outputs_of(module: nn.Module, samples: Split, batch_size: int = 64) -> list[Tensor]:
    """Every output for all samples, joined along axis 0; the module runs in eval mode and keeps its mode."""
    inputs = [tensor_of(values) for values in samples.inputs.values()]
    parts: list[list[Tensor]] = []
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(samples), batch_size):
                rows = [tensor[start : start + batch_size] for tensor in inputs]
                parts.append([tensor.float() for tensor in outputs_in_order(module(*rows))])
    finally:
        module.train(was_training)
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)
