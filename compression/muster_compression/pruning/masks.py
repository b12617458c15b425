"""Which weights stay: the largest of the whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from muster_compression.pruning.errors import PruningError

Masks: TypeAlias = Mapping[str, Tensor]
"""By layer: True where a weight stays, in the weight's shape."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Zeros among the weights that could be pruned, read from the tensors."""

    zeros: int
    weights: int
    by_layer: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """Share of zeros."""
        return self.zeros / max(1, self.weights)


def weights_of(module: nn.Module, keep: Sequence[str]) -> dict[str, nn.Parameter]:
    """Weights of convolutions, linear layers and torch's own attention by path; a tied weight comes once."""
    found: dict[str, nn.Parameter] = {}
    for name, part in module.named_modules():
        if name in keep:
            continue
        weight = part.in_proj_weight if isinstance(part, nn.MultiheadAttention) else _weight(part)
        if weight is not None and not any(weight is other for other in found.values()):
            found[name] = weight
    return found


def _weight(part: nn.Module) -> nn.Parameter | None:
    if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd)) and isinstance(part.weight, nn.Parameter):
        return part.weight
    return None


def target_at(step: int, steps: int, last: float) -> float:
    """Sparsity after ``step`` of ``steps``: Zhu and Gupta, "To Prune, or Not to Prune" (2017), equation 1, from 0."""
    return last * (1 - (1 - step / steps) ** 3)


def smallest_masked(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Masks without the smallest weights: of n weights exactly round(sparsity n) are out; equals by their place.

    Raises:
        PruningError: a layer would lose every weight, so that nothing passes it.
    """
    flat = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    order = torch.argsort(flat, stable=True)
    stays = torch.ones(len(flat), dtype=torch.bool)
    stays[order[: round(sparsity * len(flat))]] = False
    masks, start = {}, 0
    for name, weight in weights.items():
        masks[name] = stays[start : start + weight.numel()].reshape(weight.shape)
        start += weight.numel()
        if not bool(masks[name].any()):
            raise PruningError(
                f"at a sparsity of {sparsity:.3g} {name or 'the layer'} would lose all of its {weight.numel()} "
                "weights; name it in keep, or ask for less"
            )
    return masks


def apply_masks(weights: Mapping[str, Tensor], masks: Masks) -> None:
    """Zero what the masks leave out, in place; never minus zero, which would be another pattern in transit."""
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].masked_fill_(~mask, 0.0)


def holding(weights: Mapping[str, Tensor], masks: Masks) -> Callable[[int], None]:
    """For ``fit``'s ``after_step``: what is out stays out."""

    def hold(_: int) -> None:
        apply_masks(weights, masks)

    return hold


def sparsity_of(weights: Mapping[str, Tensor]) -> Sparsity:
    """Count the zeros."""
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    by_layer = {name: zeros[name] / max(1, weight.numel()) for name, weight in weights.items()}
    return Sparsity(sum(zeros.values()), total, by_layer)
