"""A residual network trained on 8 x 8 digits, once per session, and what a pass is given besides it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from muster_compression.dataset.splits import ONLY_INPUT, Split
from muster_compression.digits.data import digits
from muster_compression.passes.port import Form, PassContext, WorkingModel
from muster_compression.torch_model import save_module
from muster_compression.training.fit import fit
from muster_compression.training.settings import FitSettings
from muster_protos.model import Signature, TensorSpec

SEED = 4


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.first_norm(self.first(image)))
        return torch.relu(image + self.second_norm(self.second(inner)))


class Net(nn.Module):
    """(n, 1, 8, 8) -> (n, 10) logits."""

    output_names = ("scores",)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.fine = Residual(width)
        self.down = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.coarse = Residual(2 * width)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.coarse(self.down(self.fine(self.stem(image)))))
        return scores


class Separable(nn.Module):
    """Depthwise separable and narrow: what post-training int8 likes least."""

    output_names = ("scores",)

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(separable(width, 1), separable(width, 2), separable(width, 1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.blocks(self.stem(image)))
        return scores


def separable(width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make().eval()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def signature() -> Signature:
    return Signature(
        inputs=(TensorSpec("image", "float32", (1, 1, 8, 8)),),
        outputs=(TensorSpec("scores", "float32", (1, 10)),),
        layout="NCHW",
        task="classification",
        metric="accuracy",
    )


@pytest.fixture(scope="session")
def splits() -> tuple[Split, Split]:
    """Samples to train on and samples held out."""
    data = digits(8)
    assert data.train is not None
    assert data.validation is not None
    named = [Split({"image": part.inputs[ONLY_INPUT]}, part.labels) for part in (data.train, data.validation)]
    return named[0], named[1]


@pytest.fixture
def context(
    signature: Signature, splits: tuple[Split, Split], tmp_path: Path, teacher_path: Path
) -> Callable[..., PassContext]:
    """Contexts of their own folder each; ``count`` training samples."""
    made_count = iter(range(100))

    def make(count: int = 1100, **changes: object) -> PassContext:
        folder = tmp_path / f"pass{next(made_count)}"
        folder.mkdir()
        train = splits[0].take(np.arange(count))
        given: dict[str, object] = {
            "folder": folder,
            "signature": signature,
            "calibration": {"image": train.inputs["image"][:200]},
            "seed": SEED,
            "on_progress": lambda ratio, note: None,
            "branches": {"baseline": WorkingModel(teacher_path, Form.TORCH)},
            "training": train,
            "holdout": splits[1],
            "checkpoints": folder / "checkpoints",
        }
        return PassContext(**(given | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def trained(
    signature: Signature, splits: tuple[Split, Split], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., nn.Module]:
    """Trains a network, "net" or "separable", once per session."""
    makers: dict[str, Callable[[], nn.Module]] = {"net": Net, "separable": Separable}
    known: dict[tuple[str, int], nn.Module] = {}

    def train(name: str, epochs: int = 4) -> nn.Module:
        if (name, epochs) not in known:
            torch.set_num_threads(1)
            module = made(makers[name])
            folder = tmp_path_factory.mktemp("trained")
            bare = PassContext(folder, signature, {}, SEED, lambda ratio, note: None)
            fit(module, splits[0], FitSettings(epochs=epochs, learning_rate=0.01), bare, name="teacher")
            known[name, epochs] = module
        return copy.deepcopy(known[name, epochs])

    return train


@pytest.fixture(scope="session")
def teacher_path(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_module(trained("net"), tmp_path_factory.mktemp("teacher") / "teacher.torch").path


@pytest.fixture
def teacher(teacher_path: Path) -> WorkingModel:
    return WorkingModel(teacher_path, Form.TORCH)
