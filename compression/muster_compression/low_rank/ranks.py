"""How many components a factored layer keeps: one rank for a matrix, (in, out) for a k x k kernel."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from muster_compression.low_rank.decompose import has_kernel, spectrum

Ranks: TypeAlias = "tuple[int, ...]"


def ranks_by_energy(weight: Tensor, share: float) -> Ranks:
    """The fewest components whose squared singular values make up ``share`` (0..1) of their sum."""
    if not has_kernel(weight):
        return (_components(spectrum(weight, 0), share),)
    return _components(spectrum(weight, 1), share), _components(spectrum(weight, 0), share)


def ranks_by_share(weight: Tensor, share: float) -> Ranks:
    """The most components with which the factors hold at most ``share`` (0..1) of the weights, at least one.

    Tucker-2 gets both ranks in proportion t to the channels: t (i^2 + o^2) + t^2 k i o = share k i o.
    """
    outputs, inputs = weight.shape[:2]
    allowed = share * weight.numel()
    if not has_kernel(weight):
        return (max(1, int(allowed / (inputs + outputs))),)
    square, linear = weight.numel(), inputs**2 + outputs**2
    proportion = (math.sqrt(linear**2 + 4 * square * allowed) - linear) / (2 * square)
    return max(1, int(proportion * inputs)), max(1, int(proportion * outputs))


def _components(values: Tensor, share: float) -> int:
    energy = torch.cumsum(values**2, 0)
    if float(energy[-1]) == 0.0:
        return 1
    return min(len(values), 1 + int((energy < share * energy[-1] * (1 - 1e-12)).sum()))
