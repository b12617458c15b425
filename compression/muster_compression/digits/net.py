"""A small residual CNN whose width is a parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, image: Tensor) -> Tensor:
        return torch.relu(image + self.second(self.first(image)))


class DigitsNet(nn.Module):
    """(n, 1, 64, 64) in 0..1 -> (n, 10) logits. ``width`` is the number of channels at 16 x 16; doubled at 8 x 8."""

    output_names = ("logits",)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(1, width // 2, 5, 2), convolution(width // 2, width, 3, 2))
        self.fine = nn.Sequential(Residual(width), Residual(width))
        self.coarse = nn.Sequential(convolution(width, 2 * width, 3, 2), Residual(2 * width), Residual(2 * width))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.coarse(self.fine(self.stem(image))))
        return logits


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
