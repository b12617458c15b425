"""Every pass of the registry in a recipe of its own: what it is for, shapes, floor, cache, and the same bytes again.

Trainings that are killed and go on are tested beside each pass that trains (tests/unit/muster_compression).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from muster_compression.digits.data import digits
from muster_compression.import_model import import_model
from muster_compression.orders import FailedVariant, ImportedModel, RecipeResult, VariantResult
from muster_compression.passes.registry import PASSES
from muster_compression.run_recipe import run_recipe
from muster_protos.model import Format, VariantManifest

pytest.importorskip("ai_edge_quantizer")
pytest.importorskip("litert_torch")
pytestmark = pytest.mark.slow

NET = textwrap.dedent(
    """
    from torch import nn

    class Net(nn.Module):
        output_names = ("scores",)

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            )
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

        def forward(self, image):
            return self.head(self.body(image))

    def make():
        return Net()
    """
)
FIT = {"epochs": 1, "learning_rate": 0.003}
SPARSITY = 0.8
Property = Callable[[VariantManifest, VariantManifest], bool]  # of the variant and the baseline


@dataclass(frozen=True)
class Case:
    """How a pass is run, and what must have come of it."""

    settings: dict[str, Any]
    keeps: Property
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def passes(self, name: str) -> list[Any]:
        return [*self.before, {"pass": name, **self.settings}, *self.after]


def smaller(share: float) -> Property:
    """Fewer bytes than ``share`` of the baseline's."""
    return lambda item, baseline: item.artifact.size_bytes < share * baseline.artifact.size_bytes


def narrower(share: float) -> Property:
    """Fewer parameters, multiplications and bytes than that share."""
    return lambda item, baseline: (
        item.params < share * baseline.params
        and item.macs < share * baseline.macs
        and item.artifact.size_bytes < share * baseline.artifact.size_bytes
    )


def is_sparse(item: VariantManifest, baseline: VariantManifest) -> bool:
    """Of the weights; biases stay. It pays in transit."""
    return (
        abs(item.sparsity - SPARSITY) < 0.02
        and baseline.sparsity < 0.01
        and item.transit_bytes < 0.5 * baseline.transit_bytes
    )


def is_trained(item: VariantManifest, baseline: VariantManifest) -> bool:
    """The same architecture with other weights."""
    return (item.params, item.macs) == (baseline.params, baseline.macs) and item.sqnr_db is not None


def answers_alike(item: VariantManifest, baseline: VariantManifest) -> bool:
    """The same function: nothing but the rounding of floats."""
    return item.accuracy.agreement == 1.0 and (item.sqnr_db is None or item.sqnr_db > 80)


ONTO_ONNX = ("export-onnx",)
INT8_BEHIND = ("export-onnx", "onnx-prepare", "onnx-static-int8")
CASES = {
    "train": Case({"fit": FIT}, is_trained, after=ONTO_ONNX),
    "export-onnx": Case({}, answers_alike),
    "export-tflite": Case({}, answers_alike),
    "prune-structured": Case({"ratio": 0.5, "steps": 1, "control": False, "fit": FIT}, narrower(0.75), after=ONTO_ONNX),
    "prune-magnitude": Case(
        {"sparsity": SPARSITY, "steps": 1, "control": False, "fit": FIT}, is_sparse, after=ONTO_ONNX
    ),
    "low-rank": Case({"ratio": 0.5, "control": False, "fit": FIT}, narrower(0.9), after=ONTO_ONNX),
    "distill": Case({"student": {"ratio": 0.5}, "control": False, "fit": FIT}, narrower(0.75), after=ONTO_ONNX),
    "qat": Case({"control": False, "fit": FIT}, smaller(0.6), after=INT8_BEHIND),
    "onnx-prepare": Case({}, answers_alike),
    "onnx-fp16": Case({}, smaller(0.6)),
    "onnx-static-int8": Case({}, smaller(0.5), before=("onnx-prepare",)),
    "onnx-mixed-int8": Case({}, smaller(0.7), before=("onnx-prepare",)),
    "onnx-dynamic-int8": Case({}, smaller(0.6)),
    "onnx-int8-weights": Case({}, smaller(0.5)),
    "onnx-int4-weights": Case({}, smaller(0.6)),
    "tflite-static-int8": Case({}, smaller(0.5)),
    "tflite-mixed-int8": Case({}, smaller(0.7)),
    "tflite-dynamic-int8": Case({}, smaller(0.5)),
    "tflite-int8-weights": Case({}, smaller(0.5)),
    "tflite-int4-weights": Case({"convolutions": "int8"}, smaller(0.4)),
    "tflite-fp16": Case({}, smaller(0.7)),
}


@dataclass
class Runs:
    """One recipe with a variant for each pass, run in four ways on the baseline that the passes start from."""

    model: ImportedModel
    first: RecipeResult
    cached: RecipeResult  # with the first one's cache
    fresh: RecipeResult  # with a cache of its own
    under_the_floor: RecipeResult

    def variant(self, which: str, name: str) -> VariantResult:
        result: RecipeResult = getattr(self, which)
        return next(item for item in result.variants if item.manifest.name == name)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "net.py").write_text(NET)
    data, arrays = digits(8), {}
    for short, part in (("train", data.train), ("val", data.validation), ("test", data.test)):
        assert part is not None
        arrays |= {f"x_{short}": part.inputs[""], f"y_{short}": part.labels}
    np.savez(folder / "data.npz", **arrays)
    return folder


def run_all(model: ImportedModel, names: list[str], folder: Path) -> Runs:
    variants = [{"name": name, "passes": CASES[name].passes(name)} for name in names]
    recipe = folder / "every.yaml"
    recipe.write_text(yaml.safe_dump({"name": "every", "variants": variants}, sort_keys=False))
    nobody = replace(model.manifest.accuracy, value=1.02)  # a baseline that nothing comes near
    better = replace(model.parent, manifest=replace(model.manifest, accuracy=nobody))

    def run(parent: Any, out: str, cache: str, floor: str = "") -> RecipeResult:
        return run_recipe(parent, str(recipe), folder / out, floor=floor, cache_dir=folder / cache, threads=1)

    return Runs(
        model,
        run(model.parent, "first", "cache"),
        run(model.parent, "cached", "cache"),
        run(model.parent, "fresh", "other"),
        run(better, "floor", "cache", "-0.01"),
    )


@pytest.fixture(scope="module")
def by_format(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runs]:
    """Passes over TFLite files start from the file that export-tflite made, the others from the module or its ONNX."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("onnx", "tflite")}
    data = str(project / "data.npz")
    source, cache = f"{project}/net.py:make", folders["onnx"] / "cache"
    model = import_model(source, "net", 1, data, folders["onnx"] / "in", train_epochs=5, cache_dir=cache, threads=1)
    onnx = run_all(model, [name for name in PASSES if not name.startswith("tflite-")], folders["onnx"])
    exported = onnx.variant("first", "export-tflite").artifact_path
    lite = import_model(str(exported), "lite", 1, data, folders["tflite"] / "in")
    return {
        "onnx": onnx,
        "tflite": run_all(lite, [name for name in PASSES if name.startswith("tflite-")], folders["tflite"]),
    }


@pytest.fixture
def runs(by_format: dict[str, Runs], name: str) -> Runs:
    return by_format["tflite" if name.startswith("tflite-") else "onnx"]


every_pass = pytest.mark.parametrize("name", sorted(PASSES))


def test_every_pass_has_a_case():
    assert set(CASES) == set(PASSES)


@every_pass
def test_it_does_what_it_is_for_and_keeps_the_shapes(runs, name):
    baseline, found = runs.model.manifest, runs.variant("first", name)
    assert CASES[name].keeps(found.manifest, baseline), found.manifest
    assert found.manifest.signature == baseline.signature
    with np.load(found.golden_path) as golden:
        scores = golden[f"out_{baseline.signature.outputs[0].name}"]
    assert (scores.shape, scores.dtype) == ((8, 10), np.float32)
    assert found.manifest.accuracy.value > 0.5
    made = Format.TFLITE if name.startswith("tflite-") or name == "export-tflite" else Format.ONNX
    assert found.manifest.format is made


@every_pass
def test_the_same_again_comes_from_the_cache(runs, name):
    again, first = runs.variant("cached", name), runs.variant("first", name)
    assert all(step.is_cached for step in again.steps)
    assert again.manifest.artifact == first.manifest.artifact
    assert [step.figures for step in again.steps] == [step.figures for step in first.steps]


@every_pass
def test_from_nothing_it_gives_the_same_bytes(runs, name):
    fresh, first = runs.variant("fresh", name), runs.variant("first", name)
    assert not next(step for step in fresh.steps if step.pass_name == name).is_cached
    assert fresh.manifest.artifact == first.manifest.artifact


@every_pass
def test_the_floor_is_enforced_right_behind_it(runs, name):
    result = runs.under_the_floor
    ended: FailedVariant | VariantResult
    if CASES[name].after:  # a torch form, which leaves no file
        (ended,) = [item for item in result.failed if item.name == name]
        assert ended.reason.startswith(f"dropped after {name}: accuracy ")
    else:
        ended = runs.variant("under_the_floor", name)
        assert not ended.is_kept
    assert "under the floor of 101.00%" in ended.reason
    assert ended.steps[-1].pass_name == name
    assert ended.steps[-1].reason in ended.reason
