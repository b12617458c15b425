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


def test_every_pass_has_settings_with_defaults():
    for name in PASSES:
        assert find_pass(name).settings().model_config["extra"] == "forbid"
