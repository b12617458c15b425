from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from muster_compression.fake_quant.grid import Range, rounded_weight
from muster_compression.fake_quant.module import FakeQuantized


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("shape", "axis"), [((6, 4, 3, 3), 0), ((4, 6, 3, 3), 1), ((6, 20), 0)])
def test_each_output_channel_has_its_own_grid(shape: tuple[int, ...], axis: int, bits: int) -> None:
    weight = torch.randn(shape)
    rounded = rounded_weight(weight, bits, axis)
    largest = 2 ** (bits - 1) - 1
    for channel, source in zip(rounded.unbind(axis), weight.unbind(axis), strict=True):
        step = source.abs().max() / largest
        torch.testing.assert_close(channel / step, (channel / step).round(), atol=1e-3, rtol=0)
        assert (channel - source).abs().max() <= step / 2 * 1.001
        torch.testing.assert_close(channel.abs().max(), source.abs().max())
    torch.testing.assert_close(rounded_weight(rounded, bits, axis), rounded)


def test_rounding_and_multiplying_a_channel_commute() -> None:
    """Why batch normalisation need not be folded in while training."""
    weight, gain = torch.randn(8, 5, 3, 3), torch.randn(8, 1, 1, 1) * 3
    torch.testing.assert_close(rounded_weight(weight * gain, 8), rounded_weight(weight, 8) * gain)


def test_onnx_runtime_quantizes_a_rounded_weight_to_itself() -> None:
    from onnxruntime.quantization.quant_utils import QuantType, quantize_data

    weight = rounded_weight(torch.randn(1, 64), 8)
    quantized = quantize_data(weight.numpy()[0], QuantType.QInt8.tensor_type, symmetric=True)
    scale, values = quantized[-2], quantized[-1]
    torch.testing.assert_close(torch.from_numpy(values.astype("float32")) * float(scale), weight[0])


def test_gradients_pass_straight_through_and_end_at_the_range() -> None:
    weight = torch.randn(4, 9, requires_grad=True)
    rounded_weight(weight, 4).sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones(4, 9))
    found = Range()
    found.see(torch.tensor([-1.0, 2.0]), is_lasting=True)
    values = torch.tensor([-5.0, 0.3, 9.0], requires_grad=True)
    found(values).sum().backward()
    assert values.grad.tolist() == [0, 1, 0]


def test_a_range_holds_zero_and_what_it_saw() -> None:
    found = Range()
    found.see(torch.tensor([0.5, 3.0]), is_lasting=True)
    found.see(torch.tensor([0.7, 1.0]), is_lasting=True)
    assert (float(found.low), float(found.high)) == (0, 3)
    given = torch.linspace(0, 3, 77)
    assert (found(given) - given).abs().max() <= 3 / 255 / 2 * 1.01
    assert found(torch.tensor([-1.0, 0.0, 4.0])).tolist() == pytest.approx([0, 0, 3])


def test_while_training_a_range_opens_at_once_and_closes_slowly() -> None:
    found = Range()
    found.see(torch.tensor([-1.0, 10.0]), is_lasting=False)
    assert (float(found.low), float(found.high)) == (-1, 10)
    found.see(torch.tensor([-0.5, 1.0]), is_lasting=False)
    assert 9.8 < float(found.high) < 10
    for _ in range(600):
        found.see(torch.tensor([-0.5, 1.0]), is_lasting=False)
    assert float(found.high) < 1.1
    assert float(found.low) <= -0.5


class Mixed(nn.Module):
    """Every kind of call; an extra branch while training."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.aside = nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        first = torch.relu(self.norm(self.convolution(image)))
        if self.training:
            self.aside(first.mean((2, 3)))
        second = self.up(first)
        second += torch.ones(())
        second += second
        both = torch.cat([second, second * 0.5], 1)
        tokens = nn.functional.max_pool2d(both, 4).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.head(tokens.mean(1))


IMAGES = torch.randn(32, 2, 8, 8)


def mixed() -> Mixed:
    net = Mixed()
    with torch.no_grad():
        for _ in range(20):
            net.train()(IMAGES)
    return net.eval()


def test_what_a_runtime_rounds_is_found_and_the_module_stays_as_it_was() -> None:
    net = mixed()
    before, state = net(IMAGES), copy.deepcopy(net.state_dict())
    rounded = FakeQuantized(net, (IMAGES[:1],), 8)
    rounded.calibrate((IMAGES,))
    assert set(rounded.weights) == {
        "convolution.weight",
        "up.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "head.weight",
    }
    assert rounded.weights["up.weight"] == 1
    assert rounded.products == 5
    with torch.no_grad():
        after = rounded(IMAGES)
    assert not torch.equal(after, before)
    assert ((after - before) ** 2).mean() < 0.01 * (before**2).mean()
    assert torch.equal(net(IMAGES), before)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in net.modules())


def test_every_range_has_seen_something_once_it_is_calibrated() -> None:
    rounded = FakeQuantized(mixed(), (IMAGES[:1],), 8)
    rounded.calibrate((IMAGES,))
    assert len(rounded.ranges) == len(rounded.places) > 10
    assert all(float(item.high) > float(item.low) for item in rounded.ranges)
    seen = [float(item.high) for item in rounded.ranges]
    rounded.calibrate((IMAGES * 0.1,))
    assert float(rounded.ranges[0].high) < seen[0]


def test_a_branch_that_only_training_takes_does_not_shift_the_others() -> None:
    rounded = FakeQuantized(mixed(), (IMAGES[:1],), 8)
    rounded.calibrate((IMAGES,))
    head = next(index for place, index in rounded.places.items() if place.startswith("head.weight"))
    before = float(rounded.ranges[head].high)
    rounded.train()
    rounded(IMAGES)
    assert float(rounded.ranges[head].high) == pytest.approx(before, rel=0.5)
    rounded.inner.eval()
    rounded.inner.training = True
    assert len(rounded.ranges) == len(rounded.places)


def test_fewer_bits_are_further_away() -> None:
    net = mixed()
    before = net(IMAGES)
    distances = []
    for bits in (8, 6, 4, 3):
        rounded = FakeQuantized(net, (IMAGES[:1],), bits)
        rounded.calibrate((IMAGES,))
        with torch.no_grad():
            distances.append(float(((rounded(IMAGES) - before) ** 2).mean()))
    assert distances == sorted(distances)
    assert distances[-1] > 20 * distances[0]


def test_a_snapped_weight_is_its_own_rounding() -> None:
    net = mixed()
    rounded = FakeQuantized(net, (IMAGES[:1],), 4)
    rounded.calibrate((IMAGES,))
    with torch.no_grad():
        before = rounded(IMAGES)
        rounded.snap()
        torch.testing.assert_close(rounded(IMAGES), before, atol=1e-5, rtol=1e-4)
    assert len(net.convolution.weight[0].unique()) <= 15
    torch.testing.assert_close(rounded_weight(net.up.weight, 4, 1), net.up.weight)


def test_frozen_normalisation_takes_no_more_statistics() -> None:
    net = mixed()
    rounded = FakeQuantized(net, (IMAGES[:1],), 8)
    rounded.freeze()
    rounded.train()
    before = net.norm.running_mean.clone()
    rounded(IMAGES * 5)
    assert torch.equal(net.norm.running_mean, before)
    assert net.convolution.training
    again = FakeQuantized(mixed(), (IMAGES[:1],), 8)
    again.load_state_dict(rounded.state_dict())
    again.train()
    assert not again.inner.norm.training


def test_every_weight_gets_a_gradient() -> None:
    rounded = FakeQuantized(mixed(), (IMAGES[:1],), 8)
    rounded.calibrate((IMAGES,))
    rounded.train()
    rounded(IMAGES).square().sum().backward()
    for name in rounded.weights:
        assert float(rounded.inner.get_parameter(name).grad.abs().sum()) > 0, name


def test_a_transformer_encoder_layer_is_seen_through_its_fast_path() -> None:
    net = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2)).eval()
    given = torch.randn(4, 5, 8)
    rounded = FakeQuantized(net, (given,), 8)
    rounded.calibrate((given,))
    assert rounded.products == 5
    with torch.inference_mode():
        assert (rounded(given) - net(given)).abs().max() < 0.2
