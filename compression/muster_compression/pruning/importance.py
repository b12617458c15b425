"""How much each unit of a group matters: what is taken out first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import ChannelGroup, Member, Side
from muster_compression.pruning.weights import by_unit, rows
from muster_compression.training.batches import Batch
from muster_compression.training.losses import Loss

Measure: TypeAlias = Literal["l2", "bn-scale", "taylor"]
Scores: TypeAlias = dict[str, Tensor]
"""By group name: one float64 per unit, larger matters more."""


def by_weights(module: nn.Module, groups: Sequence[ChannelGroup]) -> Scores:
    """L2: squared norms of a unit's weights; each layer of a group has an equal say.

    Li et al., "Pruning Filters" (2017), over coupled layers as in Fang et al., DepGraph (2023). The mean of a group
    is 1, so that groups can be ranked against each other.
    """
    return {group.name: _mean_of_members(module, group, group.members) for group in groups}


def by_batch_norm(module: nn.Module, groups: Sequence[ChannelGroup]) -> Scores:
    """Squared scales of the batch norms that a unit passes (Liu et al., "Network Slimming", 2017).

    Groups without a batch norm are judged by their weights.
    """
    return {
        group.name: _mean_of_members(
            module, group, [m for m in group.members if _is_batch_norm(module, m)] or group.members
        )
        for group in groups
    }


def has_batch_norm(module: nn.Module, group: ChannelGroup) -> bool:
    """Whether any of its layers is one."""
    return any(_is_batch_norm(module, member) for member in group.members)


def by_taylor(module: nn.Module, groups: Sequence[ChannelGroup], batches: Iterable[Batch], loss: Loss) -> Scores:
    """First-order estimate of how the loss changes when a unit is not heard any more, squared, summed over batches.

    Molchanov et al., "Importance Estimation for Neural Network Pruning" (2019), equation 8, over the weights that
    read the unit: with those at 0 it is gone. Losses are comparable, so groups are ranked against each other as it is.
    ``module`` is in eval mode and keeps its weights.
    """
    scores = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in groups}
    with torch.enable_grad():
        for batch in batches:
            module.zero_grad(set_to_none=True)
            loss(module, batch).backward()  # type: ignore[no-untyped-call]
            for group in groups:
                scores[group.name] += _first_order(module, group).square()
    module.zero_grad(set_to_none=True)
    return scores


def _first_order(module: nn.Module, group: ChannelGroup) -> Tensor:
    total = torch.zeros(group.size, dtype=torch.float64)
    for member in group.members:
        weights = rows(module, member) if member.side is Side.IN else None
        gradients = rows(module, member, is_gradient=True) if member.side is Side.IN else None
        if weights is not None and gradients is not None:
            total += by_unit(member, (weights * gradients).sum(1), group.size)
    return total


def _mean_of_members(module: nn.Module, group: ChannelGroup, members: Sequence[Member]) -> Tensor:
    total = torch.zeros(group.size, dtype=torch.float64)
    for member in members:
        weights = rows(module, member)
        if weights is None or weights.shape[0] <= max(member.indices):
            continue  # one scale for all channels says nothing of any
        norms = by_unit(member, weights.double().square().sum(1), group.size)
        total += norms / norms.mean().clamp_min(1e-30)
    return total / total.mean().clamp_min(1e-30)


def _is_batch_norm(module: nn.Module, member: Member) -> bool:
    if member.side is not Side.THROUGH or member.layer in dict(module.named_parameters()):
        return False
    layer = module.get_submodule(member.layer)
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine


def by_place(group: ChannelGroup, scores: Tensor) -> Tensor:
    """Scores of what leaves together: the mean over a group's segments."""
    return scores.reshape(group.divisor, -1).mean(0)
