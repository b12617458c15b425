"""How much worse a module is when one group alone is pruned, without any training: its sensitivity."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from muster_compression.dataset.splits import Array
from muster_compression.pruning.channel_group import ChannelGroup, Side
from muster_compression.pruning.trim import trim
from muster_compression.pruning.weights import rows
from muster_compression.pruning.widths import width_for
from muster_compression.sensitivity.closeness import closeness
from muster_compression.sensitivity.layer import LayerSensitivity
from muster_compression.training.batches import Batch
from muster_compression.training.losses import Loss, outputs_in_order

_RATIO = 0.5
_SMALLEST_SHARE = 1e-3  # of the greatest damage; below it all are alike


@dataclass(frozen=True, slots=True)
class Damage:
    """What half of a group costs."""

    loss: float  # rise of the mean loss; may be below 0
    sensitivity: LayerSensitivity  # how far the outputs moved, for the report


def damages(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Tensor],
    batches: Sequence[Batch],
    loss: Loss,
    on_progress: Callable[[float, str], None],
) -> dict[str, Damage]:
    """By group: what it costs on ``batches`` when half of it is taken out, the least important units.

    Li et al., "Pruning Filters" (2017), section 3.2. The loss moves before the metric does, which is a coarse step on
    few samples.
    """
    whole, wanted = mean_loss(module, batches, loss), _answers(module, batches)
    found = {}
    for index, group in enumerate(groups):
        on_progress(index / len(groups), f"sensitivity of {group.name}")
        narrow = trim(copy.deepcopy(module), [group], {group.name: width_for(group, _RATIO)}, scores)
        near = closeness(wanted, _answers(narrow, batches))
        weights = [rows(module, member) for member in group.members if member.side is Side.OUT]
        params = sum(weight.numel() for weight in weights if weight is not None)
        layer = LayerSensitivity(group.name, group.kind.value, params, near.sqnr_db, near.agreement)
        found[group.name] = Damage(mean_loss(narrow, batches, loss) - whole, layer)
    return found


def mean_loss(module: nn.Module, batches: Sequence[Batch], loss: Loss) -> float:
    """Over all rows, in eval mode."""
    total, rows = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            total += float(loss(module, batch)) * len(batch.labels)
            rows += len(batch.labels)
    return total / max(1, rows)


def _answers(module: nn.Module, batches: Sequence[Batch]) -> list[Array]:
    """Every output, joined over the batches."""
    with torch.no_grad():
        parts = [[tensor.numpy() for tensor in outputs_in_order(module(*batch.inputs))] for batch in batches]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def most_sensitive(found: Mapping[str, float], share: float) -> list[str]:
    """The ``share`` (rounded) of the groups that cost most, the worst first."""
    return sorted(found, key=lambda name: (-found[name], name))[: round(share * len(found))]


def relative(found: Mapping[str, float]) -> dict[str, float]:
    """Damages as 0 (least of all) to 1 (most), by their logarithms; all 0.5 when they are alike."""
    greatest = max(found.values(), default=0.0)
    if greatest <= 0:
        return dict.fromkeys(found, 0.5)
    logs = {name: math.log(max(damage, _SMALLEST_SHARE * greatest)) for name, damage in found.items()}
    low, high = min(logs.values()), max(logs.values())
    return {name: (value - low) / (high - low) if high > low else 0.5 for name, value in logs.items()}
