"""A small network with everything that makes training hard to repeat: batch normalisation and dropout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from muster_compression.dataset.splits import Split
from muster_compression.digits.data import digits
from muster_compression.passes.port import PassContext
from muster_protos.model import Signature, TensorSpec


class Net(nn.Module):
    """(n, 1, 8, 8) -> (n, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(128, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(image)
        return logits


@pytest.fixture
def make_net() -> Callable[[], Net]:
    """Networks with the same first weights."""

    def make() -> Net:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return Net().eval()

    return make


@pytest.fixture
def net(make_net: Callable[[], Net]) -> Net:
    return make_net()


@pytest.fixture
def samples() -> Split:
    train = digits(8).train
    assert train is not None
    return Split({"image": train.inputs[""][:320]}, train.labels[:320] if train.labels is not None else None)


@pytest.fixture
def signature() -> Signature:
    return Signature(
        inputs=(TensorSpec("image", "float32", (1, 1, 8, 8)),),
        outputs=(TensorSpec("scores", "float32", (1, 10)),),
        layout="NCHW",
        task="classification",
        metric="accuracy",
    )


@pytest.fixture
def make_context(signature: Signature, tmp_path: Path) -> Callable[..., PassContext]:
    def make(checkpoints: str = "checkpoints", on_progress=lambda ratio, note: None, seed: int = 3) -> PassContext:
        return PassContext(tmp_path, signature, {}, seed, on_progress, checkpoints=tmp_path / checkpoints)

    return make


@pytest.fixture
def context(make_context: Callable[..., PassContext]) -> PassContext:
    return make_context()
