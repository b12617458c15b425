"""The importance that was asked for, on the samples that it needs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from muster_compression.dataset.splits import Split
from muster_compression.passes.port import PassContext
from muster_compression.pruning.channel_group import ChannelGroup
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.importance import (
    Measure,
    Scores,
    by_batch_norm,
    by_taylor,
    by_weights,
    has_batch_norm,
)
from muster_compression.training.batches import Batch, tensors_of
from muster_compression.training.losses import Loss

_BATCH = 32


def importances(
    module: nn.Module, groups: Sequence[ChannelGroup], measure: Measure, batches: Sequence[Batch], loss: Loss
) -> Scores:
    """Scores of every unit; ``batches`` are only used by ``taylor``.

    Raises:
        PruningError: ``bn-scale`` for a module without batch norms.
    """
    match measure:
        case "l2":
            return by_weights(module, groups)
        case "bn-scale":
            if not any(has_batch_norm(module, group) for group in groups):
                raise PruningError("importance bn-scale expected batch norms, found none; use taylor or l2")
            return by_batch_norm(module, groups)
        case "taylor":
            return by_taylor(module, groups, batches, loss)


def batches_of(samples: Split, count: int, context: PassContext, name: str) -> list[Batch]:
    """At most ``count`` rows drawn by the seed, in batches.

    Raises:
        PassError: no labels, too few samples, or one class only.
    """
    everything = tensors_of(samples.sample(count, context.seed), context.task.kind, name)
    starts = range(0, len(everything.labels), _BATCH)
    return [
        Batch(
            tuple(tensor[start : start + _BATCH] for tensor in everything.inputs),
            everything.labels[start : start + _BATCH],
        )
        for start in starts
    ]
