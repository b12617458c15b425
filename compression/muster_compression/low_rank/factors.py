"""One layer as a chain of smaller ones with nearly the same function."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from muster_compression.low_rank.decompose import has_kernel, truncated_svd, tucker2

Factorable: TypeAlias = "nn.Linear | nn.Conv2d"


def factored(layer: Factorable, ranks: tuple[int, ...]) -> nn.Sequential:
    """``layer`` at ``(rank,)`` (linear, 1 x 1) or ``(rank_in, rank_out)`` (k x k); the layer itself stays as it is."""
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            return _linear(layer, *ranks)
        return _tucker(layer, *ranks) if has_kernel(layer.weight) else _pointwise(layer, *ranks)


def _linear(layer: nn.Linear, rank: int) -> nn.Sequential:
    outer, inner = truncated_svd(layer.weight, rank)
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    first.weight.copy_(inner)
    second.weight.copy_(outer)
    return _finished(layer, first, second)


def _pointwise(layer: nn.Conv2d, rank: int) -> nn.Sequential:
    """The stride sits in the first factor: the second then has fewer pixels to do."""
    outer, inner = truncated_svd(layer.weight[:, :, 0, 0], rank)
    first = _with_geometry(layer, layer.in_channels, rank)
    second = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None)
    first.weight.copy_(inner[:, :, None, None])
    second.weight.copy_(outer[:, :, None, None])
    return _finished(layer, first, second)


def _tucker(layer: nn.Conv2d, rank_in: int, rank_out: int) -> nn.Sequential:
    core, outer, inner = tucker2(layer.weight, rank_in, rank_out)
    first = nn.Conv2d(layer.in_channels, rank_in, 1, bias=False)
    middle = _with_geometry(layer, rank_in, rank_out)
    last = nn.Conv2d(rank_out, layer.out_channels, 1, bias=layer.bias is not None)
    first.weight.copy_(inner.T[:, :, None, None])
    middle.weight.copy_(core)
    last.weight.copy_(outer[:, :, None, None])
    return _finished(layer, first, middle, last)


def _with_geometry(layer: nn.Conv2d, inputs: int, outputs: int) -> nn.Conv2d:
    """Kernel, stride, padding and dilation of ``layer`` between other channels, without a bias."""
    return nn.Conv2d(
        inputs,
        outputs,
        cast("tuple[int, int]", layer.kernel_size),
        cast("tuple[int, int]", layer.stride),
        cast("tuple[int, int]", layer.padding),
        cast("tuple[int, int]", layer.dilation),
        bias=False,
        padding_mode=cast("Literal['zeros']", layer.padding_mode),
    )


def _finished(layer: Factorable, *parts: nn.Module) -> nn.Sequential:
    """With the layer's bias in the last part, in its dtype and mode."""
    if layer.bias is not None:
        bias = parts[-1].bias
        assert isinstance(bias, Tensor)
        bias.copy_(layer.bias)
    return nn.Sequential(*parts).to(layer.weight.dtype).train(layer.training)
