from pathlib import Path

import pytest
import yaml

from muster_compression.recipe import parse_recipe
from muster_compression.search.point import Point
from muster_compression.search.space import load_space
from muster_protos.errors import InvalidInputError

RECIPE = """
name: free
floor: 0.9
variants:
  - name: ready
    formats: [onnx]
    passes: [{pass: onnx-prepare}]
  - name: small
    from: ready
    formats: [onnx]
    passes:
      - {pass: onnx-static-int8, calibration_samples: {choices: [8, 16]}}
  - name: smaller
    from: small
    formats: [onnx]
    passes:
      - {pass: onnx-static-int8, per_channel: {choices: [true, false]}}
  - name: lite
    formats: [tflite]
    passes: [{pass: tflite-static-int8, calibration_samples: {low: 8, high: 64}}]
"""
SAMPLES, CHANNEL = "small.onnx-static-int8.calibration_samples", "smaller.onnx-static-int8.per_channel"


def written(folder: Path, text: str) -> str:
    path = folder / "free.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def space(tmp_path):
    return load_space(written(tmp_path, RECIPE))


def test_variants_depend_on_their_own_parameters_and_on_those_of_what_they_start_from(space):
    assert [item.name for item in space.parameters_for(0)] == []
    assert [item.name for item in space.parameters_for(1)] == [SAMPLES]
    assert [item.name for item in space.parameters_for(2)] == [SAMPLES, CHANNEL]


def test_only_variants_that_can_start_from_the_baseline_are_targets(space):
    assert space.targets("onnx") == [0, 1, 2]
    assert space.targets("tflite") == [3]


def test_variants_that_start_from_a_torch_module_need_one(tmp_path):
    trained = """
  - name: pruned
    passes: [{pass: prune-structured, ratio: 0.5}, export-onnx]
  - name: pruned-int8
    from: pruned
    passes: [onnx-prepare, onnx-static-int8]
"""
    space = load_space(written(tmp_path, RECIPE + trained.removeprefix("\n")))
    assert space.targets("onnx", has_torch=True) == [0, 1, 2, 4, 5]
    assert space.targets("onnx", has_torch=False) == [0, 1, 2]


def test_a_point_is_a_recipe_with_that_variant_and_what_it_needs(space):
    recipe = parse_recipe(space.point_yaml(2, {SAMPLES: 16, CHANNEL: False}), "point.yaml")
    assert [item.name for item in recipe.variants] == ["ready", "small", "smaller"]
    assert recipe.variants[1].passes[0].settings == {"calibration_samples": 16}
    assert recipe.floor == "0.9"
    assert [item.name for item in parse_recipe(space.point_yaml(0, {}), "p").variants] == ["ready"]


def test_the_frontier_is_a_recipe_of_its_points_that_share_what_they_start_from(space):
    known = [(1, Point(4, "small", {SAMPLES: 8}))]
    chosen = [
        (2, Point(5, "smaller", {SAMPLES: 8, CHANNEL: True})),
        (2, Point(6, "smaller", {SAMPLES: 8, CHANNEL: False})),
        (2, Point(7, "smaller", {SAMPLES: 16, CHANNEL: False})),
    ]
    recipe = parse_recipe(space.frontier_yaml(chosen, known + chosen), "frontier.yaml")
    parents = {item.name: item.parent for item in recipe.variants}
    assert recipe.name == "free-frontier"
    assert parents["smaller-5"] == parents["smaller-6"] == "small-4"
    assert parents["smaller-7"] not in ("small-4", "baseline")
    assert parents["small-4"] == parents[parents["smaller-7"]]
    assert len(parents) == 6
    by_name = {item.name: item for item in recipe.variants}
    assert by_name["smaller-6"].passes[0].settings == {"per_channel": False}
    assert by_name["small-4"].passes[0].settings == {"calibration_samples": 8}


def test_a_teacher_is_needed_and_renamed_like_a_parent(tmp_path, space):
    raw = yaml.safe_load(RECIPE)
    raw["variants"][2]["from"] = "baseline"
    raw["variants"][2]["passes"][0]["teacher"] = "small"
    object.__setattr__(space, "raw", raw)
    names = [item["name"] for item in yaml.safe_load(space.point_yaml(2, {}))["variants"]]
    assert names == ["ready", "small", "smaller"]
    made = yaml.safe_load(space.frontier_yaml([(2, Point(3, "smaller", {SAMPLES: 8, CHANNEL: True}))], []))
    student = made["variants"][-1]
    assert student["passes"][0]["teacher"] == made["variants"][1]["name"] != "small"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[8, 16]", "[8, 1]", "calibration_samples: expected at least 8, found 1"),
        ("high: 64", "high: 5000", "calibration_samples: expected at most 2000, found 5000"),
        ("tflite-static-int8", "tflite-static-int9", "did you mean 'tflite-static-int8'"),
    ],
)
def test_a_value_that_its_pass_does_not_take_is_found_before_anything_runs(old, new, words, tmp_path):
    with pytest.raises(InvalidInputError, match=words):
        load_space(written(tmp_path, RECIPE.replace(old, new)))


def test_a_recipe_without_free_parameters_is_sent_to_run():
    with pytest.raises(InvalidInputError, match=r"quick has no free parameters.*muster-compress run"):
        load_space("quick")
