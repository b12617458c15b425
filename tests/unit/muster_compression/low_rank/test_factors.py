from __future__ import annotations

import pytest
import torch
from torch import nn

from muster_compression.low_rank.choice import by_energy, by_ratio
from muster_compression.low_rank.decompose import approximated, truncated_svd, tucker2
from muster_compression.low_rank.factors import factored
from muster_compression.low_rank.layers import Layer, factorable_layers, whole_cost
from muster_compression.low_rank.ranks import ranks_by_energy, ranks_by_share
from muster_compression.passes.port import PassError

LAYERS = {
    "linear": (nn.Linear(12, 9), (5, 12)),
    "linear of tokens": (nn.Linear(12, 9, bias=False), (2, 5, 12)),
    "1 x 1": (nn.Conv2d(12, 9, 1), (2, 12, 7, 7)),
    "1 x 1, stride 2": (nn.Conv2d(12, 9, 1, stride=2), (2, 12, 7, 7)),
    "3 x 3": (nn.Conv2d(12, 9, 3, padding=1), (2, 12, 7, 7)),
    "3 x 5, stride, dilation": (nn.Conv2d(12, 9, (3, 5), (2, 1), (1, 2), (1, 2), bias=False), (2, 12, 9, 11)),
    "reflected border": (nn.Conv2d(12, 9, 3, padding="same", padding_mode="reflect"), (2, 12, 7, 7)),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", LAYERS)
def test_at_full_rank_a_layer_keeps_its_function(name: str) -> None:
    layer, shape = LAYERS[name]
    full = (9,) if layer.weight.dim() == 2 or layer.weight.shape[2:].numel() == 1 else (12, 9)
    given = torch.randn(shape)
    torch.testing.assert_close(factored(layer, full)(given), layer(given), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_factors_compute_what_the_approximated_weight_stands_for(name: str) -> None:
    layer, shape = LAYERS[name]
    ranks = ranks_by_share(layer.weight, 0.5)
    given = torch.randn(shape)
    chain = factored(layer, ranks)(given)
    with torch.no_grad():
        kept = layer.weight.clone()
        layer.weight.copy_(approximated(kept, ranks))
        wanted = layer(given)
        layer.weight.copy_(kept)
    torch.testing.assert_close(chain, wanted, atol=1e-5, rtol=1e-4)


def test_svd_loses_the_energy_of_what_it_leaves_out() -> None:
    weight = torch.randn(20, 30)
    values = torch.linalg.svdvals(weight)
    outer, inner = truncated_svd(weight, 7)
    lost = ((outer @ inner - weight) ** 2).sum()
    torch.testing.assert_close(lost, (values[7:] ** 2).sum(), rtol=1e-3, atol=1e-3)


def test_tucker_finds_the_ranks_a_kernel_was_made_with() -> None:
    core, outer, inner = torch.randn(3, 2, 3, 3), torch.randn(16, 3), torch.randn(12, 2)
    weight = torch.einsum("rshw,or,is->oihw", core, outer, inner)
    assert ranks_by_energy(weight, 0.999999) == (2, 3)
    found_core, found_outer, found_inner = tucker2(weight, 2, 3)
    rebuilt = torch.einsum("rshw,or,is->oihw", found_core, found_outer, found_inner)
    torch.testing.assert_close(rebuilt, weight, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(64, 48), (64, 48, 1, 1), (64, 48, 3, 3), (32, 96, 5, 5)])
def test_ranks_by_share_hold_at_most_that_share(shape: tuple[int, ...], share: float) -> None:
    weight = torch.zeros(shape)
    ranks = ranks_by_share(weight, share)
    layer = nn.Linear(48, 64, bias=False) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2:], bias=False)
    cost = Layer(("layer",), layer, 10, 10).cost_at(ranks)
    assert cost.params == sum(item.numel() for item in factored(layer, ranks).parameters())
    assert 0.8 * share * weight.numel() < cost.params <= share * weight.numel()


def test_zero_weights_have_rank_one() -> None:
    assert ranks_by_energy(torch.zeros(8, 8), 0.9) == (1,)
    assert ranks_by_energy(torch.zeros(8, 8, 3, 3), 0.9) == (1, 1)


def test_costs_count_positions_and_strides() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.Flatten(), nn.Linear(8 * 16, 10))
    convolution, linear = factorable_layers(net, (torch.zeros(1, 4, 8, 8),))
    assert convolution.cost.macs == 16 * 8 * 4 * 9
    assert convolution.cost_at((2, 3)).macs == 64 * 2 * 4 + 16 * (2 * 3 * 9 + 3 * 8)
    assert linear.cost.params == 128 * 10 + 10
    assert whole_cost(net, [convolution, linear]).params == 8 * 4 * 9 + 8 + 128 * 10 + 10


class Awkward(nn.Module):
    """Layers that only look as if they could be factored."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(8, 8)
        self.read = nn.Linear(8, 8)
        self.never_called = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied_too = nn.Linear(8, 8)
        self.tied_too.weight = self.tied.weight
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.twice = nn.Linear(8, 8)
        self.same = self.twice

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = self.tied_too(self.tied(self.plain(tokens)))
        tokens = self.same(self.twice(tokens)) + self.read.weight.sum() + self.read(tokens)
        tokens, _ = self.attention(tokens, tokens, tokens)
        image = self.grouped(tokens.transpose(1, 2)[..., None])
        return image.mean((2, 3))


def test_only_layers_that_are_just_their_weight_are_eligible() -> None:
    found = factorable_layers(Awkward().eval(), (torch.zeros(1, 4, 8),))
    assert [layer.names for layer in found] == [("plain",), ("twice", "same")]
    assert found[1].positions_out == 2 * 4


def test_a_transformer_encoder_keeps_the_layers_that_its_fast_path_reads() -> None:
    block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    net = nn.Sequential(block, nn.Linear(16, 4))
    before = net[0].linear1
    found = factorable_layers(net, (torch.zeros(1, 4, 16),))
    assert [layer.name for layer in found] == ["1"]
    assert net[0].linear1 is before


def test_the_least_sensitive_layer_pays_first() -> None:
    torch.manual_seed(0)
    redundant = nn.Linear(32, 32, bias=False)
    with torch.no_grad():
        redundant.weight.copy_(torch.randn(32, 2) @ torch.randn(2, 32))
    net = nn.Sequential(redundant, nn.Linear(32, 32, bias=False)).eval()
    given = {"x": torch.randn(40, 32).numpy()}
    layers = factorable_layers(net, (torch.zeros(1, 32),))
    choice = by_ratio(net, layers, given, 0.6, "params", lambda ratio, note: None)
    assert set(choice.ranks) == {"0"}
    by_share = by_energy(net, layers, given, 0.9, 0.0, lambda ratio, note: None)
    assert by_share.ranks["0"][0] <= 2
    assert by_share.costly == 1


def test_a_ratio_out_of_reach_says_what_is_the_least() -> None:
    net = nn.Sequential(nn.Linear(8, 8)).eval()
    layers = factorable_layers(net, (torch.zeros(1, 8),))
    with pytest.raises(PassError, match=r"reach 0\.1 of the params of 1 layers, found 0\.33"):
        by_ratio(net, layers, {"x": torch.randn(8, 8).numpy()}, 0.1, "params", lambda ratio, note: None)
