"""The bands see what they are there for: each change for the worse that is made here falls out of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def changed(template: dict[str, Any], variant: str, pass_name: str, **settings: Any) -> dict[str, Any]:
    """A variant of a template whose one pass has other settings; None for a pass = left out."""
    (found,) = [item for item in template["variants"] if item["name"] == variant and item.get("formats") != ["tflite"]]
    steps = [dict(step) for step in found["passes"] if settings or step["pass"] != pass_name]
    for step in steps:
        step |= settings if step["pass"] == pass_name else {}
    return {**found, "passes": steps}


@pytest.fixture(scope="module")
def drifted(lab):
    """Variants of three templates on the convolutional network, each spoilt in one way, in one run."""
    quick, edge, tiny = (lab.template(name) for name in ("quick", "edge", "tiny"))
    short = {"fit": {"epochs": 1}, "control": False}
    made = {
        "per-tensor": changed(quick, "int8-static", "onnx-static-int8", per_channel=False),
        "uncorrected": changed(quick, "int8-static", "onnx-static-int8", bias_correction=False),
        "unprepared": changed(quick, "int8-static", "onnx-prepare"),
        "half-float": changed(quick, "int8-static", "onnx-static-int8", operators=["Conv"]),
        "wide": changed(edge, "pruned", "prune-structured", macs=0.5, steps=1, teacher="none", **short),
        "large": changed(tiny, "student", "distill", student={"ratio": 0.35}, **short),
    }
    recipe = {"name": "drift", "variants": [{**variant, "name": name} for name, variant in made.items()]}
    return lab.found("cnn", 0, lab.run(recipe, "cnn"))


def figures(lines: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines}


@pytest.mark.parametrize(
    ("name", "run", "variant", "seen"),
    [
        ("per-tensor", "quick of cnn", "int8-static", {"parent_sqnr_db", "size_bytes"}),
        ("uncorrected", "quick of cnn", "int8-static", {"onnx-static-int8.biases_corrected"}),
        ("unprepared", "quick of cnn", "int8-static", {"onnx-prepare"}),
        ("half-float", "quick of cnn", "int8-static", {"onnx-static-int8.operators_int8"}),
        ("wide", "edge of cnn", "pruned", {"size_bytes", "prune-structured.channels_after"}),
        ("large", "tiny of cnn", "student", {"size_bytes", "distill.params_after"}),
    ],
)
def test_a_recipe_that_drifted_is_seen_by_what_it_lost(drifted, bands, misses, name, run, variant, seen):
    assert seen <= figures(misses(drifted[name], bands[run][variant]))


def test_five_points_less_a_tenth_more_bytes_or_another_ending_are_seen_in_every_variant(found_of, bands, misses):
    found, wanted = found_of("quick of cnn"), bands["quick of cnn"]
    for name, one in found.items():
        assert misses(one, wanted[name]) == []
        worse = replace(one, accuracy=one.accuracy - 0.05, parent_agreement=one.parent_agreement - 0.05)
        assert figures(misses(worse, wanted[name])) >= {"accuracy", "parent_agreement"}
        assert figures(misses(replace(one, size_bytes=round(1.1 * one.size_bytes)), wanted[name])) == {"size_bytes"}
        assert figures(misses(replace(one, outcome="dropped"), wanted[name])) == {"outcome"}
        assert figures(misses(replace(one, precision="fp64"), wanted[name])) == {"precision"}


def test_a_variant_that_misses_its_floor_is_out_of_its_band(lab, found_of, bands, misses):
    """The floor of a run is enforced: nothing comes near a baseline that is always right."""
    baseline = lab.baseline("cnn")
    found = lab.found("cnn", 0, lab.run(lab.template("quick"), "cnn", floor="1.0"))
    assert baseline.manifest.accuracy.value < 1
    for name, one in found.items():
        assert one.reason.startswith("accuracy")
        assert "outcome" in figures(misses(one, bands["quick of cnn"][name]))
