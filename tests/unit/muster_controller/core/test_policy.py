"""Reading policies strictly."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_controller.core.bounds import Bound, BoundKind, parse_bound, resolve
from muster_controller.core.policy import PolicyError, check_policy, parse_policy
from muster_controller.core.policy_terms import Constraint, Metric, Objective, Side, SloTarget
from muster_controller.testing_values import make_model
from muster_protos.errors import InvalidInputError

DOCUMENT = Path(__file__).parents[4] / "docs" / "policy.md"


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("0.88", Bound(0.88)),
        (40, Bound(40.0)),
        ("-0.01", Bound(-0.01, BoundKind.POINTS)),
        (-0.01, Bound(-0.01, BoundKind.POINTS)),
        ("0.99rel", Bound(0.99, BoundKind.RELATIVE)),
        ("1e2", Bound(100.0)),
        (0, Bound(0.0)),
    ],
)
def test_bounds_have_one_grammar(text: str | float, bound: Bound) -> None:
    assert parse_bound(text) == bound


@pytest.mark.parametrize("text", ["", "rel", "0rel", "-1rel", "nan", "inf", "1 ms", "0.5 rel x", "nanrel", "fast"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="expected a bound such as"):
        parse_bound(text)


@given(st.floats(-1e6, 1e6, allow_nan=False).filter(lambda value: value != 0), st.booleans())
def test_a_bound_reads_back_what_it_shows(value: float, is_relative: bool) -> None:
    bound = parse_bound(f"{abs(value)!r}rel" if is_relative else repr(value))
    again = parse_bound(str(bound))
    assert again.kind is bound.kind
    assert again.value == pytest.approx(bound.value, rel=1e-5)


@pytest.mark.parametrize(
    ("bound", "baseline", "expected"),
    [
        ("0.88", None, 0.88),
        ("-0.01", 0.98, 0.97),
        ("0.5rel", 0.98, 0.49),
        ("-0.01", None, None),
        ("0.5rel", None, None),
    ],
)
def test_a_bound_resolves_against_the_baseline(bound: str, baseline: float | None, expected: float | None) -> None:
    assert resolve(parse_bound(bound), baseline) == (None if expected is None else pytest.approx(expected))


def test_points_of_an_error_metric_are_above_the_baseline() -> None:
    assert resolve(parse_bound("-0.5"), 2.0, is_smaller_better=True) == pytest.approx(2.5)


def test_the_documented_example_is_read() -> None:
    example = re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    policy = parse_policy(example.group(1))
    assert policy.constraints == (
        Constraint(Metric.P95_MS, Side.MAX, Bound(40.0)),
        Constraint(Metric.PEAK_MEMORY_MB, Side.MAX, Bound(200.0)),
        Constraint(Metric.ACCURACY_DROP, Side.MAX, Bound(0.01)),
    )
    assert policy.weights == ((Objective.ACCURACY, 1.0),)
    assert (policy.is_auto, policy.rungs, policy.slo) == (False, 4, SloTarget(50.0, 95.0))
    assert policy.text == example.group(1)


def test_every_constraint_and_objective_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    names = [item.value for item in (*Metric, *Objective)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_defaults_are_manual_accuracy_and_four_rungs() -> None:
    policy = parse_policy("constraints: {}")
    assert policy.weights == ((Objective.ACCURACY, 1.0),)
    assert (policy.is_auto, policy.is_agreement_allowed, policy.slo, policy.rungs) == (False, False, None, 4)
    assert policy.keeps_emergency_rung


def test_weights_of_a_mix_sum_to_one() -> None:
    policy = parse_policy("objective: {latency: 1, accuracy: 3, size: 0}")
    assert policy.weights == ((Objective.ACCURACY, 0.75), (Objective.LATENCY, 0.25))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping of names, found nothing"),
        ("- a", "expected a mapping of names"),
        ("constraint: {}", "unknown key 'constraint': did you mean 'constraints'"),
        ("constraints: {p95_m: {max: 3}}", "unknown key 'p95_m': did you mean 'p95_ms'"),
        ("constraints: {p95_ms: {most: 3}}", "unknown key 'most'"),
        ("constraints: {p95_ms: 40}", r"expected p95_ms: \{max: 40\} or \{min: ...\}, found p95_ms: 40"),
        ("constraints: {p95_ms: {}}", "expected p95_ms to have a min or a max"),
        ("constraints: {p95_ms: {max: true}}", "expected a bound such as"),
        ("constraints: {p95_ms: {max: [1]}}", "expected a bound such as"),
        ("constraints: {p95_ms: {max: .nan}}", "expected a bound such as"),
        ("constraints: {p95_ms: {max: .inf}}", "expected a bound such as"),
        ("constraints: {p95_ms: {max: 1, max: 2}}", "each key once"),
        ("constraints: {p95_ms: {max: -5}}", "not negative"),
        ("constraints: {accuracy_drop: {min: 0.1}}", "expected max with points of drop"),
        ("constraints: {accuracy_drop: {max: -0.1}}", "expected max with points of drop"),
        ("objective: acuracy", "did you mean 'accuracy'"),
        ("objective: {accuracy: -1, latency: 2}", "expected weights such as"),
        ("objective: {}", "expected weights such as"),
        ("objective: 3", "expected a mapping of names, found 3"),
        ("apply: yes", "apply: expected manual or auto, found True"),
        ("allow_agreement: 1", "expected true or false, found 1"),
        ("slo: {percentile: 95}", "expected latency_ms"),
        ("slo: {latency_ms: 0}", "more than 0"),
        ("slo: {latency_ms: 10, percentile: 100}", "between 0 and 100"),
        ("slo: {latency_ms: fast}", "slo: latency_ms: expected a number, found 'fast'"),
        ("ladder: {rungs: 9}", "whole number from 1 to 5, found 9"),
        ("ladder: {rung: 3}", "did you mean 'rungs'"),
        ("a: [", "expected a policy in YAML"),
        ("constraints: {p95_ms: {max: 40}\nobjective: accuracy\n", "found in line 2, column 1: expected ',' or '}'"),
        ("[" * 5000, "expected a policy in YAML"),
        ("x" * 70_000, "at most 65536 characters"),
        ("!!python/object/apply:os.system ['true']", "expected a policy in YAML"),
        ("2024-99-99", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        parse_policy(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    with contextlib.suppress(PolicyError):
        parse_policy(text)


def test_percentiles_are_those_the_policy_names_and_the_two_that_serving_needs() -> None:
    policy = parse_policy("constraints: {p99_ms: {max: 9}}\nslo: {latency_ms: 5, percentile: 90}")
    assert policy.percentiles() == (50.0, 90.0, 95.0, 99.0)


@pytest.mark.parametrize(
    "text", ["objective: accuracy", "objective: latency\nconstraints: {accuracy_drop: {max: 0.1}}", "{}"]
)
def test_accuracy_is_refused_for_a_model_without_labels(text: str) -> None:
    model = make_model(is_labelled=False)
    with pytest.raises(PolicyError, match="has no labelled data, so its accuracy is unknown"):
        check_policy(parse_policy(text), model)
    check_policy(parse_policy(f"{text}\nallow_agreement: true" if text != "{}" else "allow_agreement: true"), model)
    check_policy(parse_policy(text), make_model())


def test_a_model_without_labels_may_be_judged_by_latency_and_agreement() -> None:
    policy = parse_policy("objective: latency\nconstraints: {agreement: {min: 0.98}}")
    check_policy(policy, make_model(is_labelled=False))
    assert policy.uses_agreement


def test_an_error_metric_is_bounded_from_above() -> None:
    model = make_model(metric="mae")
    with pytest.raises(PolicyError, match="smaller is better"):
        check_policy(parse_policy("constraints: {accuracy: {min: 0.9}}"), model)
    check_policy(parse_policy("constraints: {accuracy: {max: 2.5}, accuracy_drop: {max: 0.1}}"), model)
    check_policy(parse_policy("constraints: {accuracy: {min: -0.1}}"), model)
