import numpy as np
import pytest
import torch
from torch import nn

from muster_compression.sensitivity.layer import most_sensitive_first
from muster_compression.sensitivity.torch_layers import (
    quantized,
    torch_sensitivity,
    weighted_layers,
    without_smallest_outputs,
    without_smallest_weights,
)


def network(outlier: float = 1.0) -> nn.Module:
    """``outlier`` enlarges the weights that read a dead neuron: that only ruins their scale."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        module[4].bias[0] = -1e3
        module[6].weight[:, 0] *= outlier
    return module


@pytest.fixture
def inputs():
    return {"x": np.random.default_rng(0).normal(0, 1, (96, 1, 8, 8)).astype(np.float32)}


def test_fewer_bits_move_the_outputs_further_by_six_decibel_each(inputs):
    module = network()
    at = {bits: torch_sensitivity(module, inputs, quantized(bits)) for bits in (4, 6, 8)}
    for low, middle, high in zip(at[4], at[6], at[8], strict=True):
        assert low.sqnr_db is not None
        assert 8 < middle.sqnr_db - low.sqnr_db < 16
        assert 8 < high.sqnr_db - middle.sqnr_db < 16


def test_the_layer_with_an_outlier_is_found(inputs):
    found = most_sensitive_first(torch_sensitivity(network(outlier=300.0), inputs, quantized(4)))
    assert found[0].layer == "6"
    assert (found[0].kind, found[0].params) == ("Linear", 80)


@pytest.mark.parametrize("change", [quantized(3), without_smallest_weights(0.6), without_smallest_outputs(0.5)])
def test_the_module_comes_back_bit_by_bit(inputs, change):
    module = network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch_sensitivity(module, inputs, change)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(item.training for item in module.modules())


def test_the_weights_come_back_when_the_change_fails(inputs):
    module = network()
    before = module[0].weight.clone()

    def broken(weight):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        torch_sensitivity(module, inputs, broken)
    assert torch.equal(module[0].weight, before)


def test_pruned_shares_are_what_was_asked_for():
    weight = torch.randn(20, 6, 3, 3)
    assert (without_smallest_weights(0.75)(weight) == 0).float().mean() == pytest.approx(0.75, abs=0.01)
    gone = without_smallest_outputs(0.4)(weight).flatten(1).norm(dim=1) == 0
    assert int(gone.sum()) == 8
    assert weight.flatten(1).norm(dim=1)[gone].max() <= weight.flatten(1).norm(dim=1)[~gone].min()


def test_pruning_more_moves_the_outputs_further(inputs):
    module = network()
    little = torch_sensitivity(module, inputs, without_smallest_weights(0.2), layers=["4"])
    much = torch_sensitivity(module, inputs, without_smallest_weights(0.8), layers=["4"])
    assert much[0].sqnr_db < little[0].sqnr_db - 6
    assert much[0].agreement < little[0].agreement <= 1.0


def test_a_transposed_convolution_is_quantized_per_output(inputs):
    torch.manual_seed(1)
    module = nn.Sequential(nn.ConvTranspose2d(1, 4, 3))
    with torch.no_grad():
        module[0].weight[:, 1] *= 1000  # with one scale for all, the others would vanish
    found = torch_sensitivity(module, inputs, quantized(8))
    assert list(weighted_layers(module)) == ["0"]
    module[0].weight.data[:, 1] = 0
    assert torch_sensitivity(module, inputs, quantized(8))[0].sqnr_db == pytest.approx(found[0].sqnr_db, abs=6)


def test_a_layer_that_is_not_there_is_named(inputs):
    with pytest.raises(ValueError, match="found 'head'"):
        torch_sensitivity(network(), inputs, quantized(8), layers=["head"])


class _Odd(nn.Module):
    """Takes one row at a time, and answers a dict with a tuple in it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Linear(64, 5)

    def forward(self, x):
        scores = self.one(x.reshape(1, 64))
        return {"scores": scores, "more": (scores.softmax(1), scores.amax(1, keepdim=True))}


def test_a_module_of_single_rows_that_answers_a_dict_is_measured(inputs):
    (found,) = torch_sensitivity(_Odd(), inputs, quantized(4))
    assert found.layer == "one"
    assert 10 < found.sqnr_db < 40
    assert 0.5 < found.agreement <= 1
