"""Which calls of torch a runtime computes in integers, and what of their arguments it rounds."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch.nn import functional


class Kind(Enum):
    """How the arguments of a call are rounded."""

    WEIGHTED = "input, weight"
    TRANSPOSED = "input, weight with outputs on axis 1"
    OPERANDS = "all tensors"
    IN_PLACE = "all tensors; the first keeps its place"
    LIST = "a sequence of tensors"
    INPUT = "input"
    ATTENTION = "query, key, value, weights"
    OTHER = "none"


_KINDS: dict[Kind, tuple[Callable[..., Any], ...]] = {
    Kind.WEIGHTED: (torch.conv1d, torch.conv2d, torch.conv3d, functional.linear),
    Kind.TRANSPOSED: (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    Kind.OPERANDS: (
        *(torch.add, torch.mul, torch.matmul, torch.bmm, torch.Tensor.add, torch.Tensor.mul, torch.Tensor.matmul),
        *(torch.Tensor.bmm, torch.Tensor.__add__, torch.Tensor.__radd__, torch.Tensor.__mul__, torch.Tensor.__rmul__),
        *(torch.Tensor.__matmul__, functional.scaled_dot_product_attention),
    ),
    Kind.IN_PLACE: (torch.Tensor.add_, torch.Tensor.mul_, torch.Tensor.__iadd__, torch.Tensor.__imul__),
    Kind.LIST: (torch.cat, torch.concat),
    Kind.INPUT: (
        *(functional.avg_pool2d, functional.adaptive_avg_pool2d, functional.max_pool2d, functional.layer_norm),
        *(torch.softmax, torch.Tensor.softmax, functional.softmax, torch.sigmoid, torch.Tensor.sigmoid),
    ),
    Kind.ATTENTION: (functional.multi_head_attention_forward,),
}
_BY_CALL = {call: kind for kind, calls in _KINDS.items() for call in calls}

ATTENTION_INPUTS, ATTENTION_WEIGHTS = (0, 1, 2), (5, 11)
"""Positions in ``multi_head_attention_forward``: query, key, value; weights of the projections in and out."""


def kind_of_call(call: Callable[..., Any]) -> Kind:
    """By identity; everything unknown stays in floating point."""
    return _BY_CALL.get(call, Kind.OTHER)
