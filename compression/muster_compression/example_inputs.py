"""A few inputs of a model, for passes that need to see it run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from muster_compression.dataset.splits import Array
from muster_compression.passes.port import PassContext

if TYPE_CHECKING:
    from torch import Tensor


def example_rows(context: PassContext, count: int) -> dict[str, Array]:
    """At most ``count`` rows of every canonical input, in the signature's order: drawn by the seed, without labels.

    Calibration samples, else training samples; generated noise when the model came without any data.
    """
    names = [spec.name for spec in context.signature.inputs]
    source = context.calibration or (context.training.inputs if context.training is not None else {})
    if not source:
        return _generated(context, count)
    total = len(next(iter(source.values())))
    chosen = np.arange(total)
    if total > count:
        chosen = np.sort(np.random.default_rng(context.seed).choice(total, count, replace=False))
    return {name: source[name][chosen] for name in names}


def example_tensors(context: PassContext, count: int) -> tuple[Tensor, ...]:
    """The same as arguments of the module."""
    from muster_compression.training.batches import tensor_of

    return tuple(tensor_of(values) for values in example_rows(context, count).values())


def _generated(context: PassContext, count: int) -> dict[str, Array]:
    from muster_bench.generated_inputs import generate

    feeds = [generate(context.signature.inputs, context.seed * count + index) for index in range(count)]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
