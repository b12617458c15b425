"""A convolutional network and a small vision transformer, trained on 8 x 8 digits, and what templates make of them.

Everything goes the way that users go: import, recipe, child processes; one thread; once per session and seed.
"""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from muster_bench.dataset import load_arrays
from muster_bench.evaluate import collect
from muster_compression.face import open_face
from muster_compression.import_model import import_model
from muster_compression.orders import ImportedModel, RecipeResult, VariantResult
from muster_compression.recipe import recipe_text, template_names
from muster_compression.run_recipe import run_recipe
from muster_protos.model import VariantManifest

BANDS = Path(__file__).with_name("bands.yaml")
MOST_EPOCHS = 20
COUNTS = ("channels_", "heads_", "params_", "macs_", "operators", "weights_", "biases_", "products_", "activations_")
TRAINED = {"train", "prune-structured", "prune-magnitude", "low-rank", "distill", "qat"}
BASELINES = {"transformer": ("vit",), "quick": ("cnn", "cnn-lite"), "quality": ("cnn", "cnn-lite")}
"""What a template is run on, if not on the convolutional network alone; "cnn-lite" is that one as a TFLite file."""
TRAIN_EPOCHS = {"cnn": 12, "vit": 12}
NETS = textwrap.dedent(
    '''
    import math
    import torch
    from torch import nn

    def convolution(before, after, kernel=3, stride=1, groups=1):
        convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(after), nn.ReLU()]

    class Cnn(nn.Module):
        """Depthwise and pointwise; the ranges of the channels differ a hundredfold, as MobileNets' do."""

        output_names = ("scores",)

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(*convolution(1, 32), *convolution(32, 32, stride=2, groups=32))
            self.body = nn.Sequential(*convolution(32, 64, kernel=1), *convolution(64, 64))
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
            factors = torch.exp(torch.linspace(-0.5, 0.5, 32) * math.log(100))
            with torch.no_grad():
                self.stem[4].weight.copy_(factors)
                self.body[0].weight.div_(factors.reshape(1, -1, 1, 1))

        def forward(self, image):
            return self.head(self.body(self.stem(image)))

    class Vit(nn.Module):
        output_names = ("scores",)

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(*convolution(1, 16), nn.Conv2d(16, 32, 2, 2))
            self.places = nn.Parameter(0.02 * torch.randn(1, 16, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16 * 32, 10)

        def forward(self, image):
            tokens = self.stem(image).flatten(2).transpose(1, 2) + self.places
            return self.head(self.layers(tokens).flatten(1))

    def cnn():
        return Cnn()

    def vit():
        return Vit()
    '''
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-bands", type=int, default=0, metavar="SEEDS", help="measure, and write bands.yaml")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several seeds take several times as long."""
    if config.getoption("--renew-bands", 0):
        for item in items:
            item.add_marker(pytest.mark.timeout(6 * 3600), append=False)


def load_bands() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bands", Path(__file__).with_name("bands.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


bands_module = load_bands()


def runs() -> list[str]:
    """Each baseline ("cnn"), and every template that ships on each of its baselines ("edge of cnn")."""
    pairs = [(name, baseline) for name in template_names() for baseline in BASELINES.get(name, ("cnn",))]
    return [*sorted({baseline for _, baseline in pairs}), *(f"{name} of {baseline}" for name, baseline in pairs)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "run_name" in metafunc.fixturenames:
        metafunc.parametrize("run_name", runs())


def shortened(value: Any) -> Any:
    """No training longer than MOST_EPOCHS."""
    if isinstance(value, dict):
        return {key: min(item, MOST_EPOCHS) if key == "epochs" else shortened(item) for key, item in value.items()}
    return [shortened(item) for item in value] if isinstance(value, list) else value


@dataclass
class Lab:
    """Networks and data in a folder; each import and each run is made once."""

    folder: Path
    models: dict[tuple[str, int], ImportedModel] = field(default_factory=dict)
    results: dict[tuple[str, str, int, str], RecipeResult] = field(default_factory=dict)

    @property
    def data(self) -> str:
        return str(self.folder / "data.npz")

    def baseline(self, name: str, seed: int = 0) -> ImportedModel:
        """Imported: "cnn", "vit" (both trained), "cnn-lite" (a TFLite file of the first)."""
        if (name, seed) not in self.models:
            self.models[name, seed] = self._imported(name, seed)
        return self.models[name, seed]

    def _imported(self, name: str, seed: int) -> ImportedModel:
        out, cache = self.folder / f"{name}-{seed}", self.folder / "cache"
        if name in TRAIN_EPOCHS:
            epochs, source = TRAIN_EPOCHS[name], f"{self.folder}/nets.py:{name}"
            return import_model(
                source, name, 1, self.data, out, seed=seed, train_epochs=epochs, cache_dir=cache, threads=1
            )
        lite = {"name": "lite", "variants": [{"name": "lite", "passes": ["export-tflite"]}]}
        (variant,) = self.run(lite, name.removesuffix("-lite"), seed).variants
        return import_model(str(variant.artifact_path), name, 1, self.data, out, seed=seed, cache_dir=cache, threads=1)

    def template(self, name: str) -> dict[str, Any]:
        """A template as it ships, with shorter trainings."""
        recipe: dict[str, Any] = shortened(yaml.safe_load(recipe_text(name)))
        return recipe

    def run(self, recipe: dict[str, Any], baseline: str, seed: int = 0, floor: str = "") -> RecipeResult:
        key = (yaml.safe_dump(recipe), baseline, seed, floor)
        if key not in self.results:
            parent = self.baseline(baseline, seed).parent
            number = len(self.results)
            path = self.folder / f"{recipe['name']}-{number}.yaml"
            path.write_text(yaml.safe_dump(recipe, sort_keys=False))
            out, cache = self.folder / f"out-{number}", self.folder / "cache"
            self.results[key] = run_recipe(parent, str(path), out, seed=seed, floor=floor, cache_dir=cache, threads=1)
        return self.results[key]

    def found(self, baseline: str, seed: int = 0, result: RecipeResult | None = None) -> dict[str, Any]:
        """What each variant of a run came to (``bands.Found``); without one the baseline itself."""
        model = self.baseline(baseline, seed)
        judge = Judge(model)
        found = {"baseline": judge.found(VariantResult(model.manifest, model.artifact_path, model.golden_path))}
        if result is None:
            return found
        failed = {item.name: bands_module.Found("failed", bands_module.words(item.reason)) for item in result.failed}
        return {item.manifest.name: judge.found(item) for item in result.variants} | failed


class Judge:
    """Figures of variants of one model, and against what each was made from."""

    def __init__(self, model: ImportedModel) -> None:
        self.model = model
        self.arrays = load_arrays(model.evaluation_path)
        self.answers: dict[str, np.ndarray] = {}  # (n, classes) scores by variant id

    def found(self, item: VariantResult) -> Any:
        manifest, accuracy = item.manifest, item.manifest.accuracy
        assert accuracy is not None
        mine = self.answers[manifest.variant_id] = self._answers(item.artifact_path, manifest)
        its = self.answers[manifest.parent_variant_id or manifest.variant_id]
        is_trained = any(step.pass_name in TRAINED for step in item.steps)
        return bands_module.Found(
            outcome="kept" if item.is_kept else "dropped",
            reason=bands_module.words(item.reason),
            format=manifest.format.value,
            precision=manifest.precision,
            size_bytes=manifest.artifact.size_bytes,
            n=accuracy.n,
            accuracy=accuracy.value,
            agreement=accuracy.agreement,
            parent_agreement=float((mine.argmax(1) == its.argmax(1)).mean()),
            parent_sqnr_db=None if is_trained else sqnr_db(mine, its),
            did={step.pass_name: counts(step.figures) for step in item.steps},
        )

    def _answers(self, path: Path, manifest: VariantManifest) -> np.ndarray:
        face = open_face(path, manifest.format, manifest.signature, manifest.binding)
        try:
            return next(iter(collect(face, self.arrays).outputs.values())).astype(np.float64)
        finally:
            face.close()


def sqnr_db(mine: np.ndarray, its: np.ndarray) -> float | None:
    """10 log10 of signal over error; None when nothing differs."""
    noise = float(((mine - its) ** 2).sum())
    return float(10 * np.log10((its**2).sum() / noise)) if noise else None


def counts(figures: Any) -> dict[str, int]:
    """What a pass counted of what it did."""
    return {name: value for name, value in figures.items() if isinstance(value, int) and name.startswith(COUNTS)}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("regression")
    (folder / "nets.py").write_text(NETS)
    raw = load_digits()
    images = (np.asarray(raw.images, np.float32) / 16)[:, None]
    labels = np.asarray(raw.target, np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = {"train": order[:1100], "val": order[1100:1250], "test": order[1250:]}
    arrays = {
        f"{axis}_{name}": values[part]
        for name, part in parts.items()
        for axis, values in (("x", images), ("y", labels))
    }
    np.savez(folder / "data.npz", **arrays)
    return Lab(folder)


@pytest.fixture
def bands() -> dict[str, Any]:
    """Bands by run and variant, as they are committed."""
    found: dict[str, Any] = bands_module.read(BANDS)
    return found


@pytest.fixture(scope="session")
def misses() -> Callable[[Any, Any], list[str]]:
    return bands_module.misses


@pytest.fixture(scope="session")
def found_of(lab: Lab) -> Callable[[str, int], dict[str, Any]]:
    """What a run ("edge of cnn"), or a baseline ("cnn"), comes to with one seed."""

    def found(run_name: str, seed: int = 0) -> dict[str, Any]:
        template, _, baseline = run_name.rpartition(" of ")
        return lab.found(baseline, seed, lab.run(lab.template(template), baseline, seed) if template else None)

    return found


@pytest.fixture
def renewed(request: pytest.FixtureRequest, found_of: Callable[[str, int], dict[str, Any]]) -> Callable[[str], bool]:
    """With --renew-bands: measures a run with that many seeds, writes its bands, True. Else False."""

    def renew(run_name: str) -> bool:
        seeds = request.config.getoption("--renew-bands", 0)
        if not seeds:
            return False
        every = [found_of(run_name, seed) for seed in range(seeds)]
        bands = bands_module.read(BANDS)
        bands[run_name] = {name: bands_module.band_of([found[name] for found in every]) for name in every[0]}
        bands_module.write(BANDS, {name: bands[name] for name in runs() if name in bands}, MOST_EPOCHS)
        return True

    return renew


@pytest.fixture(scope="session")
def renew_command() -> Callable[[str], str]:
    """What a maintainer types to renew the bands of a run."""
    return lambda run_name: f".venv/bin/{bands_module.RENEW}{run_name.partition(' of ')[0]}"
