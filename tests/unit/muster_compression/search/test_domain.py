import pytest
import yaml

from muster_compression.recipe import parse_recipe
from muster_compression.search.domain import filled, parameters_of
from muster_protos.errors import InvalidInputError

RECIPE = """
name: free
variants:
  - name: small
    passes:
      - onnx-prepare
      - pass: onnx-static-int8
        calibration_samples: {low: 8, high: 64, log: true}
        per_channel: {choices: [true, false]}
  - name: other
    passes:
      - {pass: odd, deep: {inside: {low: 0.1, high: 0.9}}}
      - {pass: odd, ratio: {choices: [0.5], name: ratio}}
      - {pass: odd, ratio: {choices: [0.5], name: ratio}, ratios: {layer: 0.5, low: 0.1}}
"""


def test_free_parameters_are_found_wherever_they_stand():
    found = {item.name: item for item in parameters_of(yaml.safe_load(RECIPE))}
    assert list(found) == [
        "small.onnx-static-int8.calibration_samples",
        "small.onnx-static-int8.per_channel",
        "other.odd.deep.inside",
        "ratio",
    ]
    samples = found["small.onnx-static-int8.calibration_samples"].domain
    assert (samples.count, samples.ends(), str(samples)) == (57, (8, 64), "8 to 64, whole, log scale")
    assert found["other.odd.deep.inside"].domain.count is None
    assert found["ratio"].places == (("variants", 1, "passes", 1, "ratio"), ("variants", 1, "passes", 2, "ratio"))
    assert found["ratio"].variants == {1}


def test_values_take_the_parameters_places_and_the_source_stays():
    raw = yaml.safe_load(RECIPE)
    parameters = parameters_of(raw)
    values = {item.name: item.domain.ends()[0] for item in parameters}
    made = filled(raw, parameters, values)
    assert parameters_of(made) == []
    assert made["variants"][0]["passes"][1]["calibration_samples"] == 8
    assert [step["ratio"] for step in made["variants"][1]["passes"][1:]] == [0.5, 0.5]
    assert parameters_of(raw) == parameters


def test_run_is_told_to_search():
    with pytest.raises(InvalidInputError, match=r"free\.yaml has free parameters \(small\.onnx-static-int8\..*search"):
        parse_recipe(RECIPE, "free.yaml")


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("{choices: []}", "expected choices as a list"),
        ("{choices: 3}", "expected choices as a list"),
        ("{choices: [1], high: 3}", "found 'high'"),
        ("{low: 2, high: 1}", "expected low below high"),
        ("{low: 0, high: 1, log: true}", "expected low above 0"),
        ("{low: a, high: 1}", "expected numbers"),
        ("{low: 0, high: 1, step: 2}", "found 'step'"),
        ("{low: 0, high: .inf}", "expected numbers"),
    ],
)
def test_a_domain_that_is_none_is_named(domain, words):
    raw = yaml.safe_load(f"variants: [{{name: a, passes: [{{pass: p, x: {domain}}}]}}]")
    with pytest.raises(InvalidInputError, match=words) as caught:
        parameters_of(raw)
    assert str(caught.value).startswith("a.p.x: ")


def test_one_name_has_one_domain():
    raw = yaml.safe_load(
        "variants: [{name: a, passes: [{pass: p, x: {choices: [1], name: n}}, {pass: q, x: {choices: [2], name: n}}]}]"
    )
    with pytest.raises(InvalidInputError, match="n: expected the same domain"):
        parameters_of(raw)
