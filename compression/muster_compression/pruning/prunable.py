"""What of a module can be pruned: its groups of channels and heads that hold up when some of them are taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from muster_compression.pruning.attention import SelfAttention
from muster_compression.pruning.channel_group import ChannelGroup, Kind, Member, Side
from muster_compression.pruning.coupling import coupled_channels
from muster_compression.pruning.soundness import why_unsound


@dataclass(frozen=True, slots=True)
class Prunable:
    """Groups that were tried, and the ones that stay whole with the reason."""

    groups: tuple[ChannelGroup, ...]
    kept: tuple[tuple[str, str], ...]  # (group, why)

    @property
    def excuse(self) -> str:
        """Why groups stay whole, as the end of a sentence; "" when none does."""
        if not self.kept:
            return ""
        name, reason = self.kept[0]
        more = f" and {len(self.kept) - 1} more stay whole" if len(self.kept) > 1 else " stays whole"
        return f": {name}{more}: {reason}"


def prunable(module: nn.Module, examples: Sequence[Tensor], seed: int = 0) -> Prunable:
    """Find the groups of ``module`` and try each: see ``soundness``.

    The attentions that may lose heads must be ``SelfAttention`` already (``recognise.with_own_attention``).

    Raises:
        PruningError: the module's graph cannot be followed.
    """
    return _tried(module, examples, mapped(module, examples), seed)


def mapped(module: nn.Module, examples: Sequence[Tensor]) -> list[ChannelGroup]:
    """The groups as the graph shows them, untried.

    Raises:
        PruningError: the module's graph cannot be followed.
    """
    heads = [_heads(name, part) for name, part in _attentions(module)]
    makes_heads = {group.members[0].layer for group in heads}
    reads_heads = {group.members[1].layer for group in heads}
    channels = [
        group
        for group in coupled_channels(module, examples)
        if not any(
            (member.side is Side.OUT and member.layer in makes_heads)
            or (member.side is Side.IN and member.layer in reads_heads)
            for member in group.members
        )  # the inside of an attention: its heads leave whole
    ]
    return [*channels, *heads]


def _attentions(module: nn.Module) -> Iterator[tuple[str, SelfAttention]]:
    """Those whose projections are plain layers: other passes may have put a chain there."""
    for name, part in module.named_modules():
        if isinstance(part, SelfAttention) and type(part.qkv) is type(part.out) is nn.Linear:
            yield name, part


def _heads(name: str, part: SelfAttention) -> ChannelGroup:
    """The attention's heads: rows of q, k and v, and columns of its output projection."""
    heads, dim = part.num_heads, part.head_dim
    head_of = torch.arange(heads).repeat_interleave(dim)
    columns = tuple(range(heads * dim))
    units = tuple(head_of.tolist())
    rows = tuple(range(3 * heads * dim))
    prefix = f"{name}." if name else ""
    members = (
        Member(f"{prefix}qkv", Side.OUT, units * 3, rows),
        Member(f"{prefix}out", Side.IN, units, columns),
    )
    return ChannelGroup(name, Kind.HEADS, heads, 1, members)


def _tried(module: nn.Module, examples: Sequence[Tensor], groups: list[ChannelGroup], seed: int) -> Prunable:
    """All groups at once; only when that fails, one by one."""
    wide = [group for group in groups if group.size > group.divisor]
    if not wide:
        return Prunable((), ())
    inputs = _noise_like(examples, seed)
    if why_unsound(module, wide, inputs, seed) is None:
        return Prunable(tuple(wide), ())
    sound, kept = [], []
    for group in wide:
        reason = why_unsound(module, [group], inputs, seed)
        if reason is None:
            sound.append(group)
        else:
            kept.append((group.name, reason))
    return _together(module, inputs, sound, kept, seed)


def _together(
    module: nn.Module, inputs: Sequence[Tensor], groups: list[ChannelGroup], kept: list[tuple[str, str]], seed: int
) -> Prunable:
    """Each is sound alone; drop from the end what is not sound beside the others."""
    good: list[ChannelGroup] = []
    if why_unsound(module, groups, inputs, seed) is None:
        good = groups
    else:
        for group in groups:
            reason = why_unsound(module, [*good, group], inputs, seed)
            if reason is None:
                good.append(group)
            else:
                kept.append((group.name, reason))
    return Prunable(tuple(good), tuple(kept))


def _noise_like(examples: Sequence[Tensor], seed: int) -> tuple[Tensor, ...]:
    """The examples with noise on the floats, so that no two places hold the same by chance."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        tensor + 0.5 * (tensor.std(correction=0) + 0.1) * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor
        for tensor in examples
    )
