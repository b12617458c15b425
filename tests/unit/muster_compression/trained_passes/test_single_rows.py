"""A module whose forward fixes one row: what can work works, everything else is one clear line before any training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from muster_compression.fake_quant.module import FakeQuantized
from muster_compression.passes import distill, low_rank, prune_magnitude, prune_structured, qat
from muster_compression.passes.port import PassError
from muster_compression.torch_model import save_module
from muster_compression.training import fit as fit_module

FIT = {"epochs": 1, "batch_size": 16}


class OneRow(nn.Module):
    output_names = ("scores",)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.last = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.last(torch.relu(self.first(image.reshape(1, 64))))
        return scores


@pytest.fixture
def one_row(tmp_path):
    torch.manual_seed(0)
    return save_module(OneRow(), tmp_path / "one_row.torch")


@pytest.fixture
def no_training(monkeypatch):
    def step(*_given: object, **_named: object) -> float:
        raise AssertionError("trained before it said so")

    monkeypatch.setattr(fit_module, "_step", step)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (distill, {"student": {"ratio": 0.5}, "fit": FIT}),
        (distill, {"student": {"ratio": 0.5}, "features": "auto", "fit": FIT}),
        (qat, {"fit": FIT}),
        (low_rank, {"ratio": 0.5, "fit": FIT}),
        (prune_structured, {"ratio": 0.5, "fit": FIT}),
        (prune_structured, {"ratio": 0.5, "importance": "taylor"}),
        (prune_structured, {"ratio": 0.5, "layers": "sensitivity"}),
        (prune_magnitude, {"sparsity": 0.5, "fit": FIT}),
    ],
)
def test_what_needs_batches_says_so(context, one_row, no_training, module, settings) -> None:
    given = context(64, branches={"baseline": one_row})
    with pytest.raises(PassError, match="expected a module that takes batches, found one whose forward fixes one row"):
        module.apply(one_row, module.SETTINGS.model_validate(settings), given)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (qat, {"fit": {"epochs": 1, "batch_size": 1}}),
        (low_rank, {"energy": 0.8, "least_sqnr_db": -100}),
        (prune_structured, {"ratio": 0.5}),
        (prune_magnitude, {"sparsity": 0.5}),
    ],
)
def test_what_needs_none_works(context, one_row, module, settings) -> None:
    output = module.apply(one_row, module.SETTINGS.model_validate(settings), context(16))
    assert output.model.path.is_file()


def test_ranges_of_single_rows_are_those_of_the_same_module_in_batches() -> None:
    torch.manual_seed(0)
    images = torch.randn(20, 1, 8, 8)
    single = OneRow().eval()
    whole = nn.Sequential(nn.Flatten(), single.first, nn.ReLU(), single.last).eval()
    answers = []
    for module in (single, whole):
        rounded = FakeQuantized(module, (images[:1],), 8)
        rounded.calibrate((images,))
        answers.append([rounded(image) for image in images.split(1)])
    torch.testing.assert_close(torch.cat(answers[0]), torch.cat(answers[1]), atol=0.05, rtol=0)
