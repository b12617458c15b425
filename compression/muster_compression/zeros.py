"""Keep what pruning took out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

_FEWEST_SHARE = 0.01


def zero_keeper(module: nn.Module) -> Callable[[int], None]:
    """A function for ``fit``'s ``after_step``: it sets every weight back to zero that is zero now.

    Only matrices and kernels with at least 1 % of zeros, others were not pruned; and none that is all zeros, which is
    how some layers begin.
    """
    masks = [(parameter, parameter.detach() == 0) for parameter in module.parameters() if parameter.dim() > 1]
    kept = [(parameter, mask) for parameter, mask in masks if _FEWEST_SHARE <= float(mask.float().mean()) < 1]

    def keep(_: int) -> None:
        with torch.no_grad():
            for parameter, mask in kept:
                parameter.masked_fill_(mask, 0)

    return keep
