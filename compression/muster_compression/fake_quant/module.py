"""A module that computes as a runtime would after quantization, and trains so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from muster_compression.fake_quant.grid import Range, rounded_weight
from muster_compression.fake_quant.walk import Walk
from muster_compression.training.batched import takes_batches
from muster_compression.training.losses import outputs_in_order


class FakeQuantized(nn.Module):
    """``inner`` with its calls into torch rounded; ``inner`` itself is not changed and nothing is attached to it.

    The ranges are buffers of this module, so checkpoints hold them. Batch normalisation need not be folded in while it
    trains: with a scale per output channel from that channel's own largest weight, rounding and multiplying a channel
    commute. What differs are batch statistics from running ones; ``freeze`` ends that.
    """

    is_frozen: Tensor

    def __init__(self, inner: nn.Module, inputs: tuple[Tensor, ...], bits: int) -> None:
        """``inputs``: a few rows, to find out which calls there are."""
        super().__init__()
        self.inner = inner
        self.bits = bits
        self.ranges = nn.ModuleList()
        self.places: dict[str, int] = {}  # which range belongs to which call
        self.weights: dict[str, int] = {}  # axis of the outputs by path of the parameter
        self.products = 0  # calls that read a weight
        self.register_buffer("is_frozen", torch.zeros((), dtype=torch.uint8))
        self._is_calibrating = False
        with torch.no_grad(), Walk(self, is_finding=True):
            outputs = inner(*inputs)
        for index, _ in enumerate(outputs_in_order(outputs)):
            self.add_range(f"output {index}")

    def forward(self, *inputs: Tensor) -> object:
        """As ``inner``. Outputs are rounded in eval mode only: a loss may want to see what made them."""
        with Walk(self):
            outputs = self.inner(*inputs)
        if self.training:
            return outputs
        rounded = [self.rounded(f"output {index}", tensor) for index, tensor in enumerate(outputs_in_order(outputs))]
        return rounded[0] if len(rounded) == 1 else tuple(rounded)

    def train(self, mode: bool = True) -> FakeQuantized:
        """Batch normalisation stays in eval mode once it is frozen."""
        super().train(mode)
        if bool(self.is_frozen):
            for norm in self.inner.modules():
                if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                    norm.eval()
        return self

    def freeze(self) -> None:
        """From now on normalisation is what it will be when it is deployed."""
        self.is_frozen.fill_(1)
        self.train(self.training)

    def calibrate(self, inputs: Sequence[Tensor], batch_size: int = 64) -> None:
        """Measure all ranges anew, as the quantizer of a runtime does; one that takes single rows gets single rows."""
        for item in self.ranges:
            cast("Range", item).forget()
        self.eval()
        if batch_size > 1 and not takes_batches(self.inner, tuple(inputs)):
            batch_size = 1
        with self._calibrating(), torch.no_grad():
            for start in range(0, len(inputs[0]), batch_size):
                self(*(tensor[start : start + batch_size] for tensor in inputs))

    def snap(self) -> None:
        """Put every weight of ``inner`` where its rounding is, so that a quantizer finds it there."""
        with torch.no_grad():
            for name, axis in self.weights.items():
                parameter = self.inner.get_parameter(name)
                parameter.copy_(self.rounded_weight(parameter, axis))

    def rounded(self, place: str, values: Tensor) -> Tensor:
        """``values`` as an activation at ``place``; unknown places stay in floating point."""
        index = self.places.get(place)
        if index is None:
            return values
        found = cast("Range", self.ranges[index])
        if self._is_calibrating:
            found.see(values, is_lasting=True)
            return values
        if self.training:
            found.see(values, is_lasting=False)
        result: Tensor = found(values)
        return result

    def rounded_weight(self, weight: Tensor, axis: int) -> Tensor:
        """One scale per output channel along ``axis``."""
        return rounded_weight(weight, self.bits, axis)

    def add_range(self, place: str) -> None:
        """A new place where an activation is rounded."""
        self.places[place] = len(self.ranges)
        self.ranges.append(Range())

    @contextmanager
    def _calibrating(self) -> Iterator[None]:
        self._is_calibrating = True
        try:
            yield
        finally:
            self._is_calibrating = False
