"""What a module costs and how wide its layers are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from muster_compression.pruning.attention import SelfAttention


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one sample."""

    params: int
    macs: int  # multiplications of convolutions and matrix products, attention's own included


def cost_of(module: nn.Module, examples: Sequence[Tensor]) -> Cost:
    """Parameters, and multiplications of one forward with ``examples``, per row.

    torch's counter knows neither the fused attention of CPUs nor the fused encoder layers, so both are counted unfused.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _unfused_encoders(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*examples)
    rows = max(1, len(examples[0]))
    return Cost(sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops() // 2 // rows)


@contextlib.contextmanager
def _unfused_encoders() -> Iterator[None]:
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def layer_widths(module: nn.Module) -> dict[str, tuple[int, str]]:
    """How many channels each convolution and linear layer makes, and how many heads each attention has, by name."""
    found: dict[str, tuple[int, str]] = {}
    inside = {id(part.qkv) for part in module.modules() if isinstance(part, SelfAttention)}
    for name, part in module.named_modules():
        if id(part) in inside:
            continue  # its rows are the heads
        if isinstance(part, nn.MultiheadAttention) or (
            isinstance(part, SelfAttention) and isinstance(part.qkv, nn.Linear)
        ):
            found[name] = (part.num_heads, "heads")
        elif isinstance(part, nn.modules.conv._ConvNd):
            found[name] = (part.out_channels, "channels")
        elif isinstance(part, nn.Linear):
            found[name] = (part.out_features, "channels")
    return found


def narrowed_layers(before: nn.Module, after: nn.Module) -> list[str]:
    """``stem 16>8``, ``attention 4>2 heads`` for every layer that lost any, in the order of the module."""
    was, now = layer_widths(before), layer_widths(after)
    lines = []
    for name, (width, unit) in now.items():
        if name in was and was[name][0] != width:
            lines.append(f"{name} {was[name][0]}>{width}{' heads' if unit == 'heads' else ''}")
    return lines
