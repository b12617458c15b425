"""Whether a module takes several rows at once, as training in batches needs it to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from muster_compression.passes.port import PassError
from muster_compression.training.losses import outputs_in_order

_ROWS = 2


def takes_batches(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Asked with the first row of ``inputs`` twice, in eval mode; the module keeps its mode.

    False for ``x.reshape(1, -1)`` in a forward: it fails on two rows, or answers one.
    """
    twice = tuple(torch.cat([tensor[:1]] * _ROWS) for tensor in inputs)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():  # what a forward keeps for itself must be usable when it is trained
            first = outputs_in_order(module(*twice))[0]
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return False
    finally:
        module.train(was_training)
    return first.dim() > 0 and len(first) == _ROWS


def check_takes_batches(module: nn.Module, inputs: tuple[Tensor, ...], name: str) -> None:
    """Said before anything is computed; ``name`` of the pass, or of the module in it.

    Raises:
        PassError: the module takes single rows only.
    """
    if not takes_batches(module, inputs):
        raise PassError(
            f"{name} expected a module that takes batches, found one whose forward fixes one row; its forward() must "
            "leave axis 0 free, as x.flatten(1) does instead of x.reshape(1, -1)"
        )
