"""Is a group's map of the network right? Tried, because a wrong one gives a network that runs but computes nonsense.

Some units are taken out of a copy. In another copy the same units stay but are not heard: every layer that reads them
reads them with weight 0, and every norm leaves them out. Both must answer alike. A forward with sizes written into it
breaks instead; a channel shuffle, which the graph does not follow, answers otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import ChannelGroup, Removals, Side, removals
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.narrow import narrow

_SHARE = 3  # one in three units is taken out
_ALIKE = 1e-3  # of the greatest answer


def why_unsound(module: nn.Module, groups: Sequence[ChannelGroup], inputs: Sequence[Tensor], seed: int) -> str | None:
    """Why the groups cannot be pruned as they are mapped, in a few words; None when they can."""
    if not groups:
        return None
    gone = removals((group, _some(group, seed)) for group in groups)
    with torch.no_grad():
        whole = _answers(module, inputs)
        try:
            pruned = narrow(copy.deepcopy(module), gone)
            found = _answers(pruned, inputs)
        except PruningError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  the user's own forward may raise anything
            return f"its forward breaks without some of the channels ({' '.join(str(error).split())[:120]})"
        wanted = _answers(_silenced(module, pruned, gone), inputs)
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in whole]:
        return "its channels are outputs of the model"
    if not all(_is_alike(one, other) for one, other in zip(found, wanted, strict=True)):
        return "its channels are mixed on the way in a manner that the graph does not show"
    return None


def _some(group: ChannelGroup, seed: int) -> set[int]:
    """A third of the places, at least one, never all; spread by ``seed``."""
    places = group.size // group.divisor
    generator = torch.Generator().manual_seed(seed + places)
    count = min(max(1, places // _SHARE), places - 1)
    chosen = torch.randperm(places, generator=generator)[:count].tolist()
    return {unit for place in chosen for unit in group.units_at(place)}


def _answers(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    return _tensors(module(*inputs))


def _tensors(answer: Any) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer, dict):
        return [tensor for item in answer.values() for tensor in _tensors(item)]
    if isinstance(answer, (tuple, list)):
        return [tensor for item in answer for tensor in _tensors(item)]
    return []


def _is_alike(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return True
    allowed = _ALIKE * float(other.abs().max()) + 1e-6
    return bool(((one - other).abs() <= allowed).all())


def _silenced(module: nn.Module, pruned: nn.Module, gone: Removals) -> nn.Module:
    """A copy of ``module`` that has the units but does not hear them."""
    silent = copy.deepcopy(module)
    parameters = dict(silent.named_parameters())
    for cut, indices in gone.items():
        name = cut.layer.rpartition(".")[0] if cut.layer in parameters else cut.layer
        layer = silent.get_submodule(name)
        if cut.layer not in parameters and cut.side is Side.IN:
            _mute(layer, indices)
        elif _is_norm_over_channels(layer):
            _replace(silent, name, _NormOfRest(pruned.get_submodule(name), _axis_of(layer), indices))
    return silent


def _is_norm_over_channels(layer: nn.Module) -> bool:
    """Channels share its statistics; a norm written by hand is known by its name only."""
    if isinstance(layer, (nn.modules.batchnorm._NormBase, _NormOfRest)):
        return False
    return isinstance(layer, (nn.LayerNorm, nn.GroupNorm)) or "norm" in type(layer).__name__.lower()


def _mute(layer: nn.Module, indices: frozenset[int]) -> None:
    """Reading weights 0 for the inputs in ``indices``."""
    if isinstance(layer, nn.Linear):
        layer.weight[:, sorted(indices)] = 0
        return
    assert isinstance(layer, nn.modules.conv._ConvNd)
    if layer.transposed:
        layer.weight[sorted(indices)] = 0
        return
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    for index in indices:
        group, place = divmod(index, inputs)
        layer.weight[group * outputs : (group + 1) * outputs, place] = 0


def _replace(module: nn.Module, name: str, part: nn.Module) -> None:
    owner, _, key = name.rpartition(".")
    setattr(module.get_submodule(owner), key, part)


class _NormOfRest(nn.Module):
    """The narrowed norm over the channels that stay; 0 at the places of the others."""

    def __init__(self, narrowed: nn.Module, axis_of: Callable[[Tensor], int], gone: frozenset[int]) -> None:
        super().__init__()
        self._narrowed = narrowed
        self._axis_of = axis_of
        self._gone = gone

    def forward(self, values: Tensor) -> Tensor:
        axis = self._axis_of(values)
        kept = torch.tensor([index for index in range(values.shape[axis]) if index not in self._gone])
        rest = self._narrowed(values.index_select(axis, kept))
        return torch.zeros_like(values).index_copy(axis, kept, rest)


def _axis_of(norm: nn.Module) -> Callable[[Tensor], int]:
    """Where a norm's inputs have their channels; for one written by hand, the last axis as long as its weight."""
    if isinstance(norm, nn.GroupNorm):
        return lambda _: 1
    if isinstance(norm, nn.LayerNorm):
        return lambda values: values.dim() - 1
    width = max((parameter.numel() for parameter in norm.parameters(recurse=False)), default=0)
    return lambda values: max((axis for axis, size in enumerate(values.shape) if size == width), default=1)
