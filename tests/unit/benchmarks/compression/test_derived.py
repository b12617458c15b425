from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compression.derived import STUDENT, control_of, for_tflite_files, in_small
from muster_compression.recipe import load_recipe

TAUGHT = """
name: taught
floor: 0.9rel
variants:
  - name: plain
    passes: [onnx-prepare, onnx-static-int8]
  - name: small
    passes:
      - pass: distill
        student: {ratio: 0.25, keep_weights: true}
        alpha: 0.9
        features: auto
        fit: {epochs: 40, batch_size: 16}
      - export-onnx
  - name: smaller
    from: small
    passes:
      - pass: prune-structured
        macs: 0.5
        teacher: parent
        fit: {epochs: 2}
      - export-onnx
  - name: small-int8
    from: small
    passes: [onnx-prepare, onnx-static-int8]
"""


@pytest.fixture
def taught(tmp_path: Path) -> str:
    path = tmp_path / "taught.yaml"
    path.write_text(TAUGHT)
    return str(path)


def test_in_small_every_training_is_shorter_and_nothing_else_changes(taught, tmp_path):
    whole, small = load_recipe(taught), load_recipe(in_small(taught, 0.1, tmp_path / "small"))
    fits = [recipe.variants[1].passes[0].settings["fit"] for recipe in (whole, small)]
    assert fits == [{"epochs": 40, "batch_size": 16}, {"epochs": 4, "batch_size": 16}]
    assert [item.name for item in small.variants] == [item.name for item in whole.variants]
    assert small.variants[0] == whole.variants[0]


def test_the_whole_is_the_template_itself(tmp_path):
    assert in_small("quick", 1.0, tmp_path) == "quick"


def test_a_control_has_the_same_chains_without_the_teachers_answers(taught, tmp_path):
    control = load_recipe(control_of(taught, tmp_path / "control"))
    assert {item.name for item in control.variants} == {
        f"{STUDENT}-onnx",
        f"{STUDENT}-tflite",
        "small",
        "smaller",
        "small-int8",
    }
    assert control.floor == ""
    for variant in control.variants:
        for step in variant.passes:
            if step.name == "distill":
                assert step.settings["alpha"] == 0
                assert step.settings["features"] == "none"
                assert step.settings["control"] is False
                assert step.settings["student"] == {"ratio": 0.25, "keep_weights": False}
                assert step.settings["fit"] == {"epochs": 40, "batch_size": 16}
            if step.name == "prune-structured":  # it keeps its budget, and trains no control of its own
                assert (step.settings["control"], step.settings["fit"]) == (False, {"epochs": 2})
    assert [step.name for step in control.variants[-1].passes] == ["onnx-prepare", "onnx-static-int8"]


def test_what_has_no_teacher_has_no_such_control(tmp_path):
    assert control_of("quick", tmp_path) == ""


def test_of_quick_the_tflite_variant_begins_with_a_tflite_file(tmp_path):
    found = load_recipe(for_tflite_files("quick", tmp_path))
    assert found.variants
    assert all(step.name.startswith("tflite-") for item in found.variants for step in item.passes)


def test_chains_of_torch_begin_with_no_file(taught, tmp_path):
    assert for_tflite_files(taught, tmp_path) == ""
