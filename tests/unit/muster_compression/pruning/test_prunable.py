"""Groups of channels are what they are said to be: without them a network computes what it computes when it does not
hear them; attention is understood whoever wrote it, and left alone when it is not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from muster_compression.pruning.attention import SelfAttention
from muster_compression.pruning.channel_group import Cut, Kind, Side, removals
from muster_compression.pruning.cost import cost_of
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.narrow import narrow
from muster_compression.pruning.prunable import prunable
from muster_compression.pruning.recognise import with_own_attention


def test_every_layer_but_the_output_can_lose_channels(network, build, image):
    module = build(network)
    with_own_attention(module, (image,))
    found = prunable(module, (image,))
    assert found.kept == ()
    made = {member.layer for group in found.groups for member in group.members if member.side is Side.OUT}
    layers = {name for name, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))}
    through = {member.layer for group in found.groups for member in group.members if member.side is Side.THROUGH}
    assert made | (through & layers) == layers - {"head"}


def test_channels_of_one_group_leave_all_its_layers_at_once(networks, build, image):
    module = build(networks["ResidualNet"])
    group = next(group for group in prunable(module, (image,)).groups if "stem" in group.layers)
    narrow(module, removals([(group, range(6))]))
    assert module.stem.out_channels == module.fine.second.out_channels == module.fine.second_norm.num_features == 10
    assert module.fine.first.in_channels == module.down.in_channels == 10
    assert module.fine.first.out_channels == 16
    with torch.no_grad():
        assert module(image).shape == (1, 10)


def test_grouped_convolutions_lose_as_many_of_each_group(networks, build, image):
    module = build(networks["Mobile"])
    groups = {group.name: group for group in prunable(module, (image,)).groups}
    stem = next(group for group in groups.values() if "stem" in group.layers)
    assert stem.divisor == 4
    with pytest.raises(PruningError, match="its 4 groups would lose 0 to 3 channels"):
        narrow(copy.deepcopy(module), removals([(stem, range(3))]))
    narrow(module, removals([(stem, stem.units_at(1))]))
    assert (module.stem.out_channels, module.grouped.in_channels, module.grouped.weight.shape[1]) == (12, 12, 3)


def test_a_channel_shuffle_is_seen_and_left_whole(networks, build, image):
    found = prunable(build(networks["Shuffle"]), (image,))
    assert [(name, "mixed on the way" in why) for name, why in found.kept] == [("first", True)]
    assert {group.name for group in found.groups} == {"stem", "second"}


def test_a_wrong_map_of_the_network_is_never_believed(networks, build, image, monkeypatch):
    """The graph's library is imitated with one that swaps two channels of a reader."""
    module = build(networks["ResidualNet"])
    right = prunable(module, (image,)).groups

    def swapped(group):
        def turn(member):
            if member.side is not Side.IN:
                return member
            turned = (*member.indices[1:], member.indices[0])
            return type(member)(member.layer, member.side, member.units, turned, member.axis)

        return type(group)(
            group.name, group.kind, group.size, group.divisor, tuple(turn(member) for member in group.members)
        )

    wrong = tuple(swapped(group) if group.name == right[0].name else group for group in right)
    monkeypatch.setattr("muster_compression.pruning.prunable.coupled_channels", lambda *_: wrong)
    found = prunable(module, (image,))
    assert [name for name, _ in found.kept] == [right[0].name]
    assert len(found.groups) == len(right) - 1


def test_attention_is_understood_whoever_wrote_it(networks, attention, build, image):
    module = build(networks["Transformer"], attention)
    wanted = module(image)
    found = with_own_attention(module, (image,))
    assert (len(found.replaced), found.unknown) == (2, ())
    assert torch.allclose(module(image), wanted, atol=1e-5)
    heads = [group for group in prunable(module, (image,)).groups if group.kind is Kind.HEADS]
    assert [group.size for group in heads] == [4, 4]
    narrow(module, removals([(heads[0], [0, 2]), (heads[1], [3])]))
    parts = [part for part in module.modules() if isinstance(part, SelfAttention)]
    assert [part.num_heads for part in parts] == [2, 3]
    with torch.no_grad():
        assert module(image).shape == (1, 10)


def test_torchs_encoder_really_loses_heads(networks, build, image):
    module = build(networks["Encoder"])
    wanted = module(image)
    assert len(with_own_attention(module, (image,)).replaced) == 2
    with torch.no_grad():  # where torch would take its fused kernel
        assert torch.allclose(module(image), wanted, atol=1e-5)
    heads = [group for group in prunable(module, (image,)).groups if group.kind is Kind.HEADS]
    narrow(module, removals((group, [1, 2, 3]) for group in heads))
    assert [layer.self_attn.num_heads for layer in module.encoder.layers] == [1, 1]
    assert module(image).shape == (1, 10)


def test_an_attention_whose_projection_became_a_chain_still_computes(networks, build, image):
    """As ``low-rank`` leaves it; its heads stay then."""
    module = build(networks["Transformer"])
    with_own_attention(module, (image,))
    wanted = module(image)
    for part in [part for part in module.modules() if isinstance(part, SelfAttention)]:
        inner = nn.Linear(part.qkv.out_features, part.qkv.out_features, bias=False)
        nn.init.eye_(inner.weight)
        part.qkv = nn.Sequential(part.qkv, inner)
    assert torch.allclose(module(image), wanted, atol=1e-5)
    assert all(group.kind is Kind.CHANNELS for group in prunable(module, (image,)).groups)


def test_masks_of_torchs_attention_mean_the_same(networks, build):
    own = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    holder = nn.ModuleDict({"attention": own})
    tokens = torch.randn(3, 5, 16)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    later = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    cases = ({"key_padding_mask": padding}, {"attn_mask": later}, {"key_padding_mask": padding, "attn_mask": later})
    wanted = [own(tokens, tokens, tokens, **case)[0] for case in cases]

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = holder["attention"]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x)[0]

    caller = Caller().eval()
    assert with_own_attention(caller, (tokens,)).replaced == ("attention",)
    for case, answer in zip(cases, wanted, strict=True):
        assert torch.allclose(caller.attention(tokens, tokens, tokens, **case)[0], answer, atol=1e-5)


def test_a_model_that_uses_the_attentions_weights_keeps_it(build):
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mixed, weights = self.attention(x, x, x)
            return self.head((weights.mean(1, keepdim=True) @ mixed)[:, 0])

    module, tokens = build(Pooled), torch.randn(1, 5, 16)
    found = with_own_attention(module, (tokens,))
    assert (found.replaced, found.unknown) == ((), ("attention",))
    assert type(module.attention) is nn.MultiheadAttention
    assert module(tokens).shape == (1, 3)


def test_attention_that_computes_otherwise_keeps_its_heads(networks, build, image):
    module = build(networks["Transformer"], networks["Cosine"])
    found = with_own_attention(module, (image,))
    assert (found.replaced, len(found.unknown)) == ((), 2)
    assert all(group.kind is Kind.CHANNELS for group in prunable(module, (image,)).groups)


def test_torchs_fused_encoder_is_counted_as_it_computes(networks, build, image):
    """16 tokens, width 32, 4 heads, hidden 64, two layers, patches of 2 x 2."""
    module = build(networks["Encoder"])
    layer = 16 * 32 * (3 * 32 + 32 + 2 * 64) + 2 * 16 * 16 * 32
    assert cost_of(module, (image,)).macs == 16 * 32 * 4 + 2 * layer + 32 * 10
    before = cost_of(module, (image,))
    with_own_attention(module, (image,))
    assert cost_of(module, (image,)) == before


def test_a_recurrent_layer_is_named(build, image):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 16, 3, 1, 1)
            self.memory = nn.GRU(16, 12, batch_first=True)
            self.head = nn.Linear(12, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
            return self.head(self.memory(seen)[0][:, -1])

    with pytest.raises(PruningError, match="cannot be followed: memory is a recurrent layer"):
        prunable(build(Recurrent), (image,))


def test_several_inputs_and_outputs_keep_their_shapes(build):
    class Sides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(8, 32), nn.Linear(6, 24)
            self.first, self.second = nn.Linear(56, 3), nn.Linear(56, 5)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            both = torch.relu(torch.cat([self.left(x), self.right(y)], 1))
            return {"first": self.first(both), "second": self.second(both)}

    module = build(Sides)
    found = prunable(module, (torch.randn(1, 8), torch.randn(1, 6)))
    assert [(group.name, group.size) for group in found.groups] == [("left", 32), ("right", 24)]
    assert found.kept == ()


def test_layer_norms_keep_the_order_of_their_channels(networks, build, image):
    """torch-pruning's own surgery goes through sets and may not."""
    module = build(networks["Transformer"])
    weight = module.norm.weight.detach().clone()
    kept = [1, 8, 17]
    gone = frozenset(index for index in range(32) if index not in kept)
    narrow(module, {Cut("norm", Side.THROUGH): gone})
    assert torch.equal(module.norm.weight, weight[kept])
    assert module.norm.normalized_shape == (3,)
