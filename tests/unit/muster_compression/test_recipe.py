import subprocess
import sys

import pytest

from muster_compression.passes.registry import PASSES, find_pass
from muster_compression.recipe import load_recipe, parse_recipe, template_names
from muster_protos.errors import InvalidInputError, NotFoundError

GOOD = """
name: mine
floor: 0.99rel
variants:
  - name: half
    passes: [onnx-prepare, onnx-fp16]
  - name: small
    from: half
    passes:
      - {pass: onnx-static-int8, calibration_samples: 100, target: arm}
"""


def test_every_template_reads_and_says_when_to_use_it():
    assert "quick" in template_names()
    for name in template_names():
        assert load_recipe(name).when


def test_quick_takes_both_formats():
    recipe = load_recipe("quick")
    assert {name for item in recipe.variants for name in item.formats} == {"onnx", "tflite"}


def test_settings_are_typed():
    recipe = parse_recipe(GOOD, "mine.yaml")
    assert recipe.variants[1].passes[0].parsed().model_dump()["calibration_samples"] == 100
    assert recipe.variants[1].parent == "half"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("onnx-fp16", "onnx-fp61", "did you mean 'onnx-fp16'"),
        ("calibration_samples: 100", "calibration_samples: 1", "calibration_samples: expected at least 8, found 1$"),
        ("target: arm", "target: mips", "x86"),
        ("target: arm", "tarrget: arm", "tarrget"),
        ("from: half", "from: later", "does not come before it"),
        ("0.99rel", "plenty", "0.99rel"),
        ("name: mine", "nam: mine", "name"),
        ("variants:", "variants: [", "YAML"),
    ],
)
def test_a_mistake_is_named_in_one_line(old, new, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        parse_recipe(GOOD.replace(old, new, 1), "mine.yaml")
    assert "\n" not in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_misspelt_template_gets_the_nearest():
    with pytest.raises(NotFoundError, match="did you mean 'quick'"):
        load_recipe("quik")


def test_yaml_cannot_make_objects():
    with pytest.raises(InvalidInputError, match="YAML"):
        parse_recipe("!!python/object/apply:os.getcwd []", "evil.yaml")


def test_every_pass_has_settings_that_refuse_unknown_keys():
    for name in PASSES:
        assert find_pass(name).settings.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        ("[train]", "mine ends as a torch module; end it with export-onnx or export-tflite"),
        ("[export-tflite, onnx-prepare]", "onnx-prepare takes onnx, export-tflite gives tflite"),
        ("[onnx-prepare, train, export-onnx]", "train takes torch, onnx-prepare gives onnx"),
    ],
)
def test_a_chain_whose_forms_do_not_fit_is_refused_before_anything_runs(passes, words):
    with pytest.raises(InvalidInputError, match=words):
        parse_recipe(f"name: r\nvariants:\n  - {{name: mine, passes: {passes}}}\n", "r.yaml")


def test_what_comes_out_must_be_among_the_formats():
    with pytest.raises(InvalidInputError, match="mine gives tflite, which is not among its formats"):
        parse_recipe("name: r\nvariants:\n  - {name: mine, formats: [onnx], passes: [export-tflite]}\n", "r.yaml")


@pytest.mark.parametrize(("formats", "is_taken"), [(("onnx", "tflite"), True), (("onnx", "onnx"), False)])
def test_one_name_may_stand_once_per_format_of_the_baseline(formats, is_taken):
    passes = {"onnx": "onnx-prepare", "tflite": "tflite-static-int8"}
    lines = [f"  - {{name: same, formats: [{item}], passes: [{passes[item]}]}}\n" for item in formats]
    text = "name: r\nvariants:\n" + "".join(lines)
    if is_taken:
        assert len(parse_recipe(text, "r.yaml").variants) == 2
    else:
        with pytest.raises(InvalidInputError, match="two variants are named 'same'"):
            parse_recipe(text, "r.yaml")


def test_two_exports_of_one_name_are_refused():
    text = "name: r\nvariants:\n  - {name: a, passes: [export-onnx]}\n  - {name: a, passes: [export-tflite]}\n"
    with pytest.raises(InvalidInputError, match="two variants are named 'a'"):
        parse_recipe(text, "r.yaml")


def test_recipes_are_checked_without_torch():
    """On a controller's host: the modules of all passes, not their libraries."""
    code = (
        "import sys\nfrom muster_compression.passes.registry import PASSES\n"
        "for spec in PASSES.values(): spec.settings\n"
        "print(*(name for name in ('torch', 'onnxruntime', 'ai_edge_litert', 'torch_pruning') if name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        ("[{pass: train, fit: {epoch: 3}}, export-onnx]", "fit.epoch: expected no such field, did you mean 'epochs'?"),
        ("[{pass: prune-structured, rato: 0.5}, export-onnx]", "rato: expected no such field, did you mean 'ratio'?"),
        ("[onnx-prepare], pases: 1", "pases: expected no such field, did you mean 'passes'?"),
        ("[onnx-prepare], form: baseline", "form: expected no such field, did you mean 'from'?"),
        ("[{pass: train, zebra: 1}, export-onnx]", "zebra: expected no such field"),
    ],
)
def test_the_nearest_name_of_a_misspelt_setting_is_suggested(passes, words):
    with pytest.raises(InvalidInputError) as caught:
        parse_recipe(f"name: x\nvariants: [{{name: a, passes: {passes}}}]\n", "x.yaml")
    assert str(caught.value).endswith(words)
