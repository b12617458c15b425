"""Rounding to an integer grid and back, with gradients that pass straight through inside its ends.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR
2018); the straight-through estimator is Bengio, Leonard and Courville's (2013).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LARGEST_ACTIVATION = 255
_SHRINK = 0.01
_SMALLEST_SCALE = 1e-9


def rounded_weight(weight: Tensor, bits: int, axis: int = 0) -> Tensor:
    """Symmetric, one scale per output channel along ``axis``, from the largest magnitude there.

    The ends are +-(2^(bits - 1) - 1), as ONNX Runtime and TFLite have them: a weight rounded so and quantized by them
    in 8 bits keeps its values.
    """
    largest = 2 ** (bits - 1) - 1
    peaks = weight.detach().abs().transpose(0, axis).flatten(1).amax(1)
    scales = (peaks / largest).clamp_min(_SMALLEST_SCALE)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(weight, scales, zeros, axis, -largest, largest)
    return rounded


class Range(nn.Module):
    """The range of one tensor that is rounded to unsigned 8 bits, one scale for all of it.

    Calibrating, it covers everything that was seen, as a runtime's quantizer does on its samples. Training, it opens at
    once and closes slowly, so that it is about what the samples of the last hundred steps cover.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forget(self) -> None:
        """Back to nothing seen."""
        self.low.zero_()
        self.high.zero_()

    def see(self, values: Tensor, is_lasting: bool) -> None:
        """``is_lasting``: never close again."""
        low, high = torch.aminmax(values.detach().float())
        if is_lasting:
            self.low.copy_(torch.minimum(self.low, low))
            self.high.copy_(torch.maximum(self.high, high))
            return
        zero = torch.zeros(())
        self.low.copy_(torch.minimum(torch.lerp(self.low, torch.minimum(low, zero), _SHRINK), low))
        self.high.copy_(torch.maximum(torch.lerp(self.high, torch.maximum(high, zero), _SHRINK), high))

    def forward(self, values: Tensor) -> Tensor:
        """Rounded; what lies outside of the range comes to its end. The grid holds 0 exactly."""
        scale = ((self.high - self.low) / _LARGEST_ACTIVATION).clamp_min(_SMALLEST_SCALE)
        zero_point = torch.round(-self.low / scale).clamp(0, _LARGEST_ACTIVATION).to(torch.int32)
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, _LARGEST_ACTIVATION)
        return rounded
