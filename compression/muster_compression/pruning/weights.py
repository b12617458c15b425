"""The weights by which a layer makes, reads or passes each channel, one row per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import Member, Side


def rows(module: nn.Module, member: Member, is_gradient: bool = False) -> Tensor | None:
    """(channels of the layer, weights of each) of ``member``'s side; None for what has no weights of its own.

    Biases and bare parameters do not count. ``is_gradient`` takes the weights' gradients instead.
    """
    if member.layer in dict(module.named_parameters()):
        return None
    layer = module.get_submodule(member.layer)
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        return None
    values = weight.grad if is_gradient else weight.detach()
    if values is None:
        return None
    if isinstance(layer, nn.modules.conv._ConvNd):
        return _of_convolution(layer, values, member.side)
    if isinstance(layer, nn.Embedding) or (isinstance(layer, nn.Linear) and member.side is Side.IN):
        return values.movedim(1, 0).flatten(1)
    return values.reshape(len(values), -1)


def _of_convolution(layer: nn.modules.conv._ConvNd, values: Tensor, side: Side) -> Tensor:
    out_axis, in_axis = (1, 0) if layer.transposed else (0, 1)
    if side is not Side.IN:
        return values.movedim(out_axis if side is Side.OUT else 0, 0).flatten(1)
    if layer.groups == 1:
        return values.movedim(in_axis, 0).flatten(1)
    grouped = values.reshape(layer.groups, layer.out_channels // layer.groups, layer.in_channels // layer.groups, -1)
    return grouped.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


def by_unit(member: Member, values: Tensor, size: int) -> Tensor:
    """One value per channel of the layer -> their sums per unit of the group, float64."""
    sums = torch.zeros(size, dtype=torch.float64)
    units, indices = torch.tensor(member.units), torch.tensor(member.indices)
    return sums.index_add(0, units, values[indices].double())
