"""Which channels hang together, by torch-pruning's dependency graph. The only file that knows that library.

Only its graph is used (Fang et al., DepGraph, CVPR 2023). Its pruners are not: at ratio 0 they prune no heads without
a word, ``round_to`` rounds narrow layers down to far less than asked, and what they cut out of a layer norm may come
back in another order.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import ChannelGroup, Kind, Member, Side
from muster_compression.pruning.errors import PruningError
from muster_protos.errors import MissingExtraError


def coupled_channels(module: nn.Module, examples: Sequence[Tensor]) -> tuple[ChannelGroup, ...]:
    """Every group of channels of ``module``, rooted at its convolutions and linear layers, in order of their names.

    The module computes the same afterwards and is in eval mode. Nothing here says that a group may be pruned: the
    library's map can be wrong (see ``soundness``).

    Raises:
        MissingExtraError: torch-pruning is not installed.
        PruningError: the module's graph cannot be followed.
    """
    library = _library()
    with warnings.catch_warnings(), torch.enable_grad(), _all_trainable(module):
        warnings.simplefilter("ignore")  # it tells of each bare parameter
        try:
            graph = library.DependencyGraph().build_dependency(module, example_inputs=tuple(examples), verbose=False)
            groups = list(graph.get_all_groups())
            found = [_group(library, graph, group) for group in groups]
        except (RuntimeError, ValueError, KeyError, AttributeError, IndexError, TypeError, AssertionError) as error:
            raise PruningError(f"the graph of the module cannot be followed: {_reason(module, error)}") from error
    order = {name: index for index, (name, _) in enumerate(module.named_modules())}
    named = [group for group in found if group is not None]
    return tuple(sorted(named, key=lambda group: order.get(group.name, len(order))))


def _reason(module: nn.Module, error: Exception) -> str:
    """Recurrent layers are what it fails on most, and it does not say so."""
    recurrent = [name for name, part in module.named_modules() if isinstance(part, nn.RNNBase)]
    if recurrent:
        return f"{recurrent[0]} is a recurrent layer, which hides how the channels before and behind it hang together"
    return " ".join(str(error).split())[:200]


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_pruning
    except ImportError as error:
        raise MissingExtraError(
            "structured pruning needs torch-pruning: pip install 'muster-edge[compress]'"
        ) from error
    return torch_pruning


class _all_trainable:  # noqa: N801
    """The graph is read off autograd, so every parameter has to take part while it is read."""

    def __init__(self, module: nn.Module) -> None:
        self._frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]

    def __enter__(self) -> None:
        for parameter in self._frozen:
            parameter.requires_grad_(True)

    def __exit__(self, *_: object) -> None:
        for parameter in self._frozen:
            parameter.requires_grad_(False)


def _group(library: Any, graph: Any, group: Any) -> ChannelGroup | None:
    """The group as plain values; None when it holds the model's outputs or its indices cannot be told."""
    members: list[Member] = []
    divisor = 1
    for item in group.items:
        node = item.dep.target
        is_made = bool(graph.is_out_channel_pruning_fn(item.dep.handler))
        if is_made and (node.type == library.ops.OPTYPE.OUTPUT or not node.outputs):
            return None  # nothing reads them: they are the model's outputs
        if not _has_weights(library, node):
            continue
        if None in item.root_idxs:
            return None
        members.append(_member(graph, node, is_made, tuple(item.idxs), tuple(item.root_idxs)))
        if not isinstance(node.module, nn.Parameter):
            divisor = math.lcm(divisor, _groups_of(node.module))
    root = group.items[0]
    size = len(root.idxs)
    if size % divisor:
        return None
    return ChannelGroup(str(graph._module2name[root.dep.target.module]), Kind.CHANNELS, size, divisor, tuple(members))


def _has_weights(library: Any, node: Any) -> bool:
    if isinstance(node.module, nn.Parameter):
        return True
    return next(node.module.parameters(), None) is not None or node.type in (
        library.ops.OPTYPE.BN,
        library.ops.OPTYPE.LN,
        library.ops.OPTYPE.GN,
        library.ops.OPTYPE.IN,
    )


def _member(graph: Any, node: Any, is_made: bool, indices: tuple[int, ...], units: tuple[int, ...]) -> Member:
    if isinstance(node.module, nn.Parameter):
        axis = int(node.pruning_dim) % node.module.dim()
        return Member(str(graph._param_to_name[node.module]), Side.THROUGH, units, indices, axis)
    name = str(graph._module2name[node.module])
    if not isinstance(node.module, (nn.modules.conv._ConvNd, nn.Linear)) or is_depthwise(node.module):
        return Member(name, Side.THROUGH, units, indices)
    return Member(name, Side.OUT if is_made else Side.IN, units, indices)


def is_depthwise(layer: nn.Module) -> bool:
    """One filter per channel, so that channels only pass through."""
    return (
        isinstance(layer, nn.modules.conv._ConvNd)
        and layer.groups == layer.out_channels == layer.in_channels
        and layer.out_channels > 1
    )


def _groups_of(layer: nn.Module) -> int:
    if isinstance(layer, nn.modules.conv._ConvNd) and not is_depthwise(layer):
        return layer.groups
    return layer.num_groups if isinstance(layer, nn.GroupNorm) else 1
