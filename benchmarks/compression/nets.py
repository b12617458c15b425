"""The teachers' architectures, as a user would write them: torch and nothing else. None is wider than its usual form.

A copy of this file lies beside each trained teacher, so that its folder holds all that the product is given.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 x 3 convolutions and a way around them (He et al. 2016)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.around: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.around = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(inner + self.around(x))
        return out


class ResNet(nn.Module):
    """(n, channels, height, width) to (n, classes) logits: a stem, stages that halve the picture, mean, linear."""

    def __init__(self, stem: nn.Module, before: int, widths: tuple[int, ...], blocks: int, classes: int) -> None:
        super().__init__()
        self.stem = stem
        stages = []
        for index, width in enumerate(widths):
            strides = [1 if index == 0 else 2, *[1] * (blocks - 1)]
            stages += [Block(before if place == 0 else width, width, stride) for place, stride in enumerate(strides)]
            before = width
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classify(self.pool(self.blocks(self.stem(x))).flatten(1))
        return out


class MnistCnn(nn.Module):
    """(n, 1, 28, 28) to (n, 10) logits: the network of PyTorch's own MNIST example, 1.2 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.pool = nn.MaxPool2d(2)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(9216, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv2(self.relu(self.conv1(x)))))
        out: Tensor = self.fc2(self.dropout2(self.relu(self.fc1(self.dropout1(x).flatten(1)))))
        return out


class Attention(nn.Module):
    """(n, tokens, width) to the same: self-attention with one packed projection (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        packed = self.qkv(x).reshape(n, tokens, 3, self.num_heads, width // self.num_heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n, tokens, width))
        return out


class Encoder(nn.Module):
    """Attention and two linear layers, each after a normalisation and with a way around."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.fc2(self.gelu(self.fc1(self.norm2(x))))
        return out


class Vit(nn.Module):
    """(n, 1, 28, 28) to (n, 10) logits: 4 x 4 patches, learned positions, the mean of the 49 tokens is classified."""

    def __init__(self, width: int = 64, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 49, width))
        self.encoders = nn.Sequential(*[Encoder(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        out: Tensor = self.classify(self.norm(self.encoders(x)).mean(1))
        return out


def resnet18() -> ResNet:
    """ResNet-18 as published (11.2 million parameters, 44.7 MB) with one input channel and ten classes."""
    stem = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return ResNet(stem, 64, (64, 128, 256, 512), 2, 10)


def resnet20() -> ResNet:
    """ResNet-20 for 32 x 32 pictures in colour (0.27 million parameters), 1 x 1 convolutions on the ways around."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return ResNet(stem, 16, (16, 32, 64), 3, 10)


def mnist_cnn() -> MnistCnn:
    """See the class."""
    return MnistCnn()


def vit() -> Vit:
    """0.14 million parameters."""
    return Vit()
