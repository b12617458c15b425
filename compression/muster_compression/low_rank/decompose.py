"""Weights as products of smaller weights."""

from __future__ import annotations

import torch
from torch import Tensor

_KERNEL_RANK = 4


def has_kernel(weight: Tensor) -> bool:
    """A convolution over more than one pixel: it takes Tucker-2, everything else SVD."""
    return weight.dim() == _KERNEL_RANK and weight.shape[2:].numel() > 1


def truncated_svd(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(o, i) -> (o, rank), (rank, i) whose product is the nearest matrix of that rank (Eckart and Young, 1936).

    The singular values are shared out by their square root, so that both factors train at like scales.
    """
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(weight.dtype), (root[:, None] * right[:rank]).to(weight.dtype)


def tucker2(weight: Tensor, rank_in: int, rank_out: int) -> tuple[Tensor, Tensor, Tensor]:
    """(o, i, h, w) -> core (rank_out, rank_in, h, w), outer (o, rank_out), inner (i, rank_in).

    Higher-order SVD (De Lathauwer, De Moor and Vandewalle, 2000) over the two channel axes, as for convolutions in Kim
    et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications" (ICLR 2016).
    """
    exact = weight.double()
    outer = _leading(exact, 0, rank_out)
    inner = _leading(exact, 1, rank_in)
    core = torch.einsum("oihw,or,is->rshw", exact, outer, inner)
    return core.to(weight.dtype), outer.to(weight.dtype), inner.to(weight.dtype)


def approximated(weight: Tensor, ranks: tuple[int, ...]) -> Tensor:
    """The weight that the factors stand for, in the shape of ``weight``."""
    if has_kernel(weight):
        core, outer, inner = tucker2(weight, *ranks)
        return torch.einsum("rshw,or,is->oihw", core, outer, inner)
    outer, inner = truncated_svd(weight.flatten(1), *ranks)
    return (outer @ inner).reshape(weight.shape)


def spectrum(weight: Tensor, axis: int) -> Tensor:
    """Singular values of the unfolding along ``axis``, largest first."""
    values: Tensor = torch.linalg.svdvals(_unfolded(weight.detach().double(), axis))
    return values


def _leading(weight: Tensor, axis: int, rank: int) -> Tensor:
    left: Tensor = torch.linalg.svd(_unfolded(weight, axis), full_matrices=False)[0]
    return left[:, :rank]


def _unfolded(weight: Tensor, axis: int) -> Tensor:
    return weight.movedim(axis, 0).reshape(weight.shape[axis], -1)
