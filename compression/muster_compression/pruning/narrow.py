"""Take channels out of layers, in place, for every kind of layer that can lose them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import Cut, Removals, Side
from muster_compression.pruning.coupling import is_depthwise
from muster_compression.pruning.errors import PruningError


def narrow(module: nn.Module, removals: Removals) -> nn.Module:
    """``module`` itself without the given channels. Its forward is not tried.

    Raises:
        PruningError: a layer cannot lose them: it would be empty, its groups would be unequal, or it is of a kind
            that is not known here. The module is then half changed: work on a copy.
    """
    parameters = dict(module.named_parameters())
    for cut in sorted(removals, key=lambda item: (item.layer, item.side.value)):
        if cut.layer in parameters:
            _narrow_parameter(module, cut, removals[cut])
        else:
            _narrow_layer(module.get_submodule(cut.layer), cut, removals[cut])
    return module


def _narrow_layer(layer: nn.Module, cut: Cut, gone: frozenset[int]) -> None:
    if isinstance(layer, nn.modules.conv._ConvNd):
        _narrow_convolution(layer, cut, gone)
    elif isinstance(layer, nn.Linear):
        _narrow_linear(layer, cut, gone)
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = _narrow_norm(layer, layer.num_features, cut, gone)
    elif isinstance(layer, nn.GroupNorm):
        _check_segments(layer.num_channels, layer.num_groups, gone, cut)
        layer.num_channels = _narrow_norm(layer, layer.num_channels, cut, gone)
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        _narrow_layer_norm(layer, cut, gone)
    elif isinstance(layer, nn.PReLU):
        if layer.num_parameters > 1:
            layer.num_parameters = _narrow_norm(layer, layer.num_parameters, cut, gone)
    elif isinstance(layer, nn.Embedding):
        kept = _kept(layer.embedding_dim, gone, cut)
        layer.weight = _selected(layer.weight, 1, kept)
        layer.embedding_dim = len(kept)
    else:
        raise PruningError(f"{cut.layer}: {type(layer).__name__} layers cannot lose channels")


def _narrow_convolution(layer: nn.modules.conv._ConvNd, cut: Cut, gone: frozenset[int]) -> None:
    out_axis, in_axis = (1, 0) if layer.transposed else (0, 1)
    if is_depthwise(layer) and cut.side is Side.THROUGH:
        kept = _kept(layer.out_channels, gone, cut)
        layer.weight = _selected(layer.weight, 0, kept)
        layer.in_channels = layer.out_channels = layer.groups = len(kept)
    elif cut.side is Side.OUT:
        kept = _kept(layer.out_channels, gone, cut)
        if layer.groups > 1:
            _check_plain(layer, cut)
            _check_segments(layer.out_channels, layer.groups, gone, cut)
        layer.weight = _selected(layer.weight, out_axis, kept)
        layer.out_channels = len(kept)
    else:
        kept = _kept(layer.in_channels, gone, cut)
        if layer.groups > 1:
            _check_plain(layer, cut)
            layer.weight = _grouped_inputs(layer, gone, cut)
        else:
            layer.weight = _selected(layer.weight, in_axis, kept)
        layer.in_channels = len(kept)
        return
    if layer.bias is not None:
        layer.bias = _selected(layer.bias, 0, kept)


def _grouped_inputs(layer: nn.modules.conv._ConvNd, gone: frozenset[int], cut: Cut) -> nn.Parameter:
    """The weight (outputs, inputs of one group, ...) without inputs that are counted over all groups."""
    _check_segments(layer.in_channels, layer.groups, gone, cut)
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    parts = []
    for index in range(layer.groups):
        kept = [place for place in range(inputs) if index * inputs + place not in gone]
        parts.append(layer.weight.detach()[index * outputs : (index + 1) * outputs][:, kept])
    return nn.Parameter(torch.cat(parts).contiguous(), layer.weight.requires_grad)


def _narrow_linear(layer: nn.Linear, cut: Cut, gone: frozenset[int]) -> None:
    if cut.side is Side.IN:
        kept = _kept(layer.in_features, gone, cut)
        layer.weight = _selected(layer.weight, 1, kept)
        layer.in_features = len(kept)
        return
    kept = _kept(layer.out_features, gone, cut)
    layer.weight = _selected(layer.weight, 0, kept)
    layer.bias = None if layer.bias is None else _selected(layer.bias, 0, kept)
    layer.out_features = len(kept)


def _narrow_norm(layer: nn.Module, size: int, cut: Cut, gone: frozenset[int]) -> int:
    """Every vector of ``size`` of the layer: scale, shift, running statistics."""
    kept = _kept(size, gone, cut)
    for name, parameter in list(layer.named_parameters(recurse=False)):
        if parameter.dim() == 1:
            setattr(layer, name, _selected(parameter, 0, kept))
    for name, buffer in list(layer.named_buffers(recurse=False)):
        if buffer.dim() == 1:
            setattr(layer, name, buffer[kept].clone())
    return len(kept)


def _narrow_layer_norm(layer: nn.LayerNorm | nn.RMSNorm, cut: Cut, gone: frozenset[int]) -> None:
    if len(layer.normalized_shape) != 1:
        raise PruningError(f"{cut.layer}: expected a norm over channels alone, found {tuple(layer.normalized_shape)}")
    layer.normalized_shape = (_narrow_norm(layer, layer.normalized_shape[0], cut, gone),)


def _narrow_parameter(module: nn.Module, cut: Cut, gone: frozenset[int]) -> None:
    owner_name, _, name = cut.layer.rpartition(".")
    owner = module.get_submodule(owner_name)
    parameter = owner.get_parameter(name)
    size = parameter.shape[cut.axis]
    if size == 1:  # one value for all channels
        return
    kept = _kept(size, gone, cut)
    setattr(owner, name, _selected(parameter, cut.axis, kept))
    shape = getattr(owner, "normalized_shape", None)  # norms written by hand keep it as torch's own do
    if isinstance(shape, Sequence) and tuple(shape) == (size,):
        owner.normalized_shape = (len(kept),)  # type: ignore[assignment]


def _kept(size: int, gone: frozenset[int], cut: Cut) -> list[int]:
    if gone and max(gone) >= size:
        raise PruningError(f"{cut.layer}: channel {max(gone)} of {size} does not exist")
    kept = [index for index in range(size) if index not in gone]
    if not kept:
        raise PruningError(f"{cut.layer}: all {size} channels would go")
    return kept


def _selected(parameter: nn.Parameter | Tensor, axis: int, kept: list[int]) -> nn.Parameter:
    chosen = parameter.detach().index_select(axis, torch.tensor(kept, dtype=torch.int64))
    return nn.Parameter(chosen.contiguous(), parameter.requires_grad)


def _check_segments(size: int, segments: int, gone: frozenset[int], cut: Cut) -> None:
    width = size // segments
    counts = [sum(index // width == segment for index in gone) for segment in range(segments)]
    if len(set(counts)) > 1:
        raise PruningError(f"{cut.layer}: its {segments} groups would lose {min(counts)} to {max(counts)} channels")


def _check_plain(layer: nn.modules.conv._ConvNd, cut: Cut) -> None:
    if layer.transposed:
        raise PruningError(f"{cut.layer}: transposed convolutions with groups cannot lose channels")
