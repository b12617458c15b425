"""A narrow network of the same architecture: a student for any model."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.importance import by_weights
from muster_compression.pruning.prunable import prunable
from muster_compression.pruning.recognise import with_own_attention
from muster_compression.pruning.trim import trim
from muster_compression.pruning.widths import uniform


def shrunk(
    module: nn.Module, example_inputs: Sequence[Tensor], ratio: float, seed: int, keep_weights: bool = True
) -> nn.Module:
    """A new module that answers in the same shapes and has about ``ratio`` of the channels and heads of each layer.

    ``module`` stays as it is. With ``keep_weights`` the student starts from the channels whose weights are largest,
    else every layer is initialised anew by ``seed``. Layers whose channels cannot leave keep their width.

    Args:
        example_inputs: one row of every input, in the order of the module's arguments.
        ratio: above 0, at most 1.

    Raises:
        PruningError: no layer can be made narrower; the message says why.
        MissingExtraError: torch-pruning is not installed.
    """
    if not 0 < ratio <= 1:
        raise PruningError(f"expected a width ratio above 0 and at most 1, found {ratio}")
    student = copy.deepcopy(module).eval()
    student.requires_grad_(True)
    if ratio < 1:
        with_own_attention(student, example_inputs)
        found = prunable(student, example_inputs, seed)
        widths = uniform(found.groups, 1 - ratio)
        if all(widths[group.name] == group.size for group in found.groups):
            raise PruningError(f"no layer can be made narrower by {ratio}{found.excuse}")
        trim(student, found.groups, widths, by_weights(student, found.groups))
    if not keep_weights:
        initialised(student, seed)
    return student.eval()


def initialised(module: nn.Module, seed: int) -> nn.Module:
    """``module`` itself, every layer as its class initialises it; bare parameters drawn with the spread they have."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in part.parameters(recurse=False):
                if parameter.is_floating_point():
                    spread = float(parameter.std(correction=0))
                    parameter.normal_(float(parameter.mean()), spread)
    return module
