"""Chains of distillation, low rank and quantization-aware training in a run of their own process each."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from muster_compression.digits.data import digits
from muster_compression.import_model import import_model
from muster_compression.orders import RecipeResult, VariantResult
from muster_compression.run_recipe import run_recipe

pytestmark = pytest.mark.slow

NET = textwrap.dedent(
    """
    from torch import nn

    class Net(nn.Module):
        output_names = ("scores",)

        def __init__(self, width=24):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
            )

        def forward(self, image):
            return self.body(image)

    def make():
        return Net()
    """
)
RECIPE = textwrap.dedent(
    """
    name: chain
    variants:
      - name: small-int8
        passes:
          - pass: distill
            student: "{folder}/student/net.py:make"
            features: auto
            fit: {{epochs: 10, learning_rate: 0.01}}
          - {{pass: qat, control: false, fit: {{epochs: 1, learning_rate: 0.002}}}}
          - export-onnx
          - onnx-prepare
          - onnx-static-int8
      - name: thin
        passes:
          - {{pass: low-rank, ratio: 0.6, fit: {{epochs: 1, learning_rate: 0.003}}}}
          - export-onnx
    """
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student's file has the name of the model's, and classes of the same names."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "net.py").write_text(NET)
    (folder / "student").mkdir()
    (folder / "student" / "net.py").write_text(NET.replace("width=24", "width=10"))
    data = digits(8)
    arrays = {}
    for short, split in (("train", data.train), ("val", data.validation), ("test", data.test)):
        assert split is not None
        arrays |= {f"x_{short}": split.inputs[""], f"y_{short}": split.labels}
    np.savez(folder / "data.npz", **arrays)
    (folder / "chain.yaml").write_text(RECIPE.format(folder=folder))
    return folder


def by_name(result: RecipeResult) -> dict[str, VariantResult]:
    return {item.manifest.name: item for item in result.variants}


def test_chains_run_from_the_module_to_int8_and_go_on_from_the_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    source, data = f"{folder}/net.py:make", str(folder / "data.npz")
    model = import_model(source, "digits", 1, data, tmp_path / "in", train_epochs=12, cache_dir=cache, threads=1)
    recipe = folder / "chain.yaml"
    first = run_recipe(model.parent, str(recipe), tmp_path / "first", cache_dir=cache, threads=1)
    assert first.failed == ()
    small, thin = by_name(first)["small-int8"], by_name(first)["thin"]
    assert small.manifest.precision == "int8"
    assert small.manifest.params < 0.3 * model.manifest.params
    assert thin.manifest.params < model.manifest.params
    assert min(item.manifest.accuracy.value for item in (small, thin)) > 0.6
    figures = {step.pass_name: step.figures for step in (*small.steps, *thin.steps)}
    assert figures["distill"]["accuracy_control_low"] < figures["distill"]["accuracy_control"]
    assert figures["distill"]["feature_pairs"] >= 1
    assert figures["low-rank"]["macs_after"] < figures["low-rank"]["macs_before"]
    assert "accuracy_post_training" in figures["qat"]
    (folder / "longer.yaml").write_text(recipe.read_text().replace("epochs: 1, learning_rate: 0.002", "epochs: 2"))
    second = run_recipe(model.parent, str(folder / "longer.yaml"), tmp_path / "second", cache_dir=cache, threads=1)
    assert second.failed == ()
    again = by_name(second)
    assert [step.is_cached for step in again["small-int8"].steps[:2]] == [True, False]  # its classes are found again
    assert all(step.is_cached for step in again["thin"].steps)
    assert again["thin"].manifest.artifact.sha256 == thin.manifest.artifact.sha256
