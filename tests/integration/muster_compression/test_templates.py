"""Every template: it is a recipe, and in small it runs on the digits and keeps the property that it is named for."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from muster_compression.import_model import import_model
from muster_compression.recipe import load_recipe, recipe_text, template_names
from muster_compression.run_recipe import run_recipe

ROOT = Path(__file__).parents[3]
TEMPLATES = ("edge", "quality", "quick", "tiny", "transformer")
NETS = textwrap.dedent(
    """
    import torch
    from torch import nn

    def convolution(before, after, stride=1):
        return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]

    def cnn():
        net = nn.Sequential(
            nn.AvgPool2d(4), *convolution(1, 24), *convolution(24, 48, 2), *convolution(48, 48),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10),
        )
        net.output_names = ("scores",)
        return net

    class Vit(nn.Module):
        output_names = ("scores",)

        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(1, 32, 8, 8)
            self.places = nn.Parameter(torch.zeros(1, 64, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(32, 10)

        def forward(self, image):
            tokens = self.patches(image).flatten(2).transpose(1, 2) + self.places
            return self.head(self.layers(tokens).mean(1))

    def vit():
        return Vit()
    """
)


def in_small(value: Any) -> Any:
    """One epoch and one step wherever there are more."""
    if isinstance(value, dict):
        return {key: 1 if key in ("epochs", "step_epochs", "steps") else in_small(item) for key, item in value.items()}
    return [in_small(item) for item in value] if isinstance(value, list) else value


def test_the_templates_are_those_of_the_docs_and_each_says_when():
    assert tuple(template_names()) == TEMPLATES
    for name in TEMPLATES:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.title
        assert len(recipe.when) > 40
        page = (ROOT / "docs" / "recipes" / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n\n**When.**")
        if name != "quick":
            assert all(f"`{variant.name}`" in page for variant in recipe.variants), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("templates")
    (made / "nets.py").write_text(NETS)
    return made


@pytest.fixture(scope="module")
def made(folder):
    """A template's result in small, with the baseline's manifest."""

    def make(template: str, network: str) -> tuple[Any, dict[str, Any]]:
        cache = folder / "cache"
        imported = import_model(
            f"{folder}/nets.py:{network}",
            network,
            1,
            "builtin:digits",
            folder / network,
            train_epochs=4,
            threads=1,
            cache_dir=cache,
        )
        recipe = folder / f"{template}.yaml"
        recipe.write_text(yaml.safe_dump(in_small(yaml.safe_load(recipe_text(template))), sort_keys=False))
        result = run_recipe(imported.parent, str(recipe), folder / template, threads=1, cache_dir=cache)
        assert result.failed == ()
        return imported.manifest, {item.manifest.name: item for item in result.variants}

    return make


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_edge_prunes_to_a_third_and_quantizes_both_formats(made):
    baseline, found = made("edge", "cnn")
    assert list(found) == ["pruned", "pruned-int8", "pruned-lite", "pruned-lite-int8"]
    manifests = {name: item.manifest for name, item in found.items()}
    assert 0.3 < manifests["pruned"].macs / baseline.macs < 0.4
    assert manifests["pruned"].params < 0.5 * baseline.params
    for name in ("pruned-int8", "pruned-lite-int8"):
        assert manifests[name].precision == "int8"
        assert manifests[name].artifact.size_bytes < baseline.artifact.size_bytes / 5
        assert manifests[name].accuracy.agreement > 0.4
    assert {item.format.value for item in manifests.values()} == {"onnx", "tflite"}
    assert manifests["pruned-int8"].sqnr_db < 60


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_tiny_is_far_smaller_and_its_student_has_a_control(made):
    baseline, found = made("tiny", "cnn")
    manifests = {name: item.manifest for name, item in found.items()}
    assert manifests["student"].params < 0.12 * baseline.params
    assert manifests["tiny"].params < 0.8 * manifests["student"].params
    assert manifests["tiny-int8"].precision == manifests["tiny-lite-int8"].precision == "int8"
    distilled = found["student"].steps[0]
    assert distilled.pass_name == "distill"
    assert {"accuracy", "accuracy_control", "accuracy_teacher"} <= set(distilled.figures)
    assert manifests["tiny-int8"].parent_variant_id == "cnn.v1.tiny"


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_transformer_has_half_the_heads_and_smaller_weights(made):
    baseline, found = made("transformer", "vit")
    pruned = found["heads"].steps[0]
    assert (pruned.figures["heads_before"], pruned.figures["heads_after"]) == (8, 4)
    manifests = {name: item.manifest for name, item in found.items()}
    assert manifests["heads"].macs < 0.75 * baseline.macs
    assert manifests["int8-dynamic"].artifact.size_bytes < baseline.artifact.size_bytes
    assert manifests["heads-int4"].operators["MatMulNBits"] > 0
    assert manifests["heads-lite-int8"].artifact.size_bytes < manifests["heads-lite"].artifact.size_bytes


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_quality_keeps_int8_close_to_the_baseline(made):
    baseline, found = made("quality", "cnn")
    assert list(found) == ["int8-mixed", "int8-trained", "int8-trained-lite"]
    assert found["int8-mixed"].steps[-1].sensitivities
    trained = found["int8-trained"]
    assert trained.manifest.precision == "int8"
    assert {"accuracy_control", "accuracy_post_training"} <= set(trained.steps[0].figures)
    for item in found.values():
        assert item.manifest.artifact.size_bytes < baseline.artifact.size_bytes
        assert item.manifest.accuracy.value > baseline.accuracy.value - 0.1
