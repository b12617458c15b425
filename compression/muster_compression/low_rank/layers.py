"""The layers of a module that can be factored, with what they cost."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from muster_compression.low_rank.factors import Factorable
from muster_compression.low_rank.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one layer, for one sample."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.params - other.params, self.macs - other.macs)

    def is_below(self, other: Cost) -> bool:
        """Fewer parameters and fewer multiplications."""
        return self.params < other.params and self.macs < other.macs


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that is called in the forward pass."""

    names: tuple[str, ...]  # every path to it: a module may be used at several
    module: Factorable
    positions_in: int  # pixels or tokens per sample that it reads, over all its calls
    positions_out: int  # and writes

    @property
    def name(self) -> str:
        """Its first path."""
        return self.names[0]

    @property
    def cost(self) -> Cost:
        """As it is."""
        weights = self.module.weight.numel()
        return Cost(weights + self._bias, self.positions_out * weights)

    def cost_at(self, ranks: Ranks) -> Cost:
        """Factored."""
        outputs, inputs = self.module.weight.shape[:2]
        first, last = ranks[0] * inputs, ranks[-1] * outputs
        if len(ranks) == 1:  # a stride sits in the first factor, so both run at the output's positions
            return Cost(first + last + self._bias, self.positions_out * (first + last))
        core = math.prod(ranks) * self.module.weight.shape[2:].numel()
        macs = self.positions_in * first + self.positions_out * (core + last)
        return Cost(first + core + last + self._bias, macs)

    def put(self, module: nn.Module, replacement: nn.Module) -> None:
        """Set ``replacement`` at every path of this layer in ``module``."""
        for name in self.names:
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, replacement)

    @property
    def _bias(self) -> int:
        return 0 if self.module.bias is None else self.module.bias.numel()


def factorable_layers(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Layer]:
    """Plain linear layers and ungrouped 2-d convolutions that ``inputs`` (any batch size) pass through.

    Left out: subclasses and parametrized layers (they are more than their weight), grouped convolutions, shared
    weights, and layers whose weight is read by other code than their own, as in nn.MultiheadAttention.
    """
    paths: dict[nn.Module, list[str]] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        if name and (type(child) is nn.Linear or (type(child) is nn.Conv2d and child.groups == 1)):
            paths.setdefault(child, []).append(name)
    owners = Counter(id(weight) for child in module.modules() for weight in child._parameters.values())
    positions = _positions(module, list(paths), inputs)
    found = [
        Layer(tuple(names), child, *positions[child])
        for child, names in paths.items()
        if child in positions and owners[id(child.weight)] == 1 and isinstance(child, (nn.Linear, nn.Conv2d))
    ]
    return [layer for layer in found if _can_be_replaced(module, layer, inputs)]


def whole_cost(module: nn.Module, layers: list[Layer]) -> Cost:
    """Parameters of the whole module, MACs of ``layers``."""
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(params, sum(layer.cost.macs for layer in layers))


def _positions(
    module: nn.Module, layers: list[nn.Module], inputs: tuple[Tensor, ...]
) -> dict[nn.Module, tuple[int, int]]:
    """Positions in and out per sample of each layer that is called."""
    found: dict[nn.Module, tuple[int, int]] = {}
    rows = len(inputs[0])

    def note(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        axis = -1 if isinstance(layer, nn.Linear) else 1
        read, written = (max(1, tensor.numel() // tensor.shape[axis] // rows) for tensor in (given[0], result))
        before = found.get(layer, (0, 0))
        found[layer] = (before[0] + read, before[1] + written)

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.inference_mode():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _can_be_replaced(module: nn.Module, layer: Layer, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the module runs with the same layer behind another face, which has no ``weight``."""
    layer.put(module, nn.Sequential(layer.module))
    try:
        with torch.inference_mode():
            module(*inputs)
    except (AttributeError, TypeError):
        return False
    finally:
        layer.put(module, layer.module)
    return True
