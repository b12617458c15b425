"""A request that does not fit is told in our words, whatever library judged it."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muster_protos.faults import fault_of, faults_of


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(max_length=5)] = ""
    uses: Annotated[int, Field(gt=0, le=9)] = 1
    share: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.5
    names: Annotated[list[str], Field(max_length=2)] = []
    labels: dict[str, str] = {}
    force: bool = False
    kind: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": 7}, "name: expected text, found 7"),
        ({"name": "toolong"}, 'name: expected at most 5 characters, found "toolong"'),
        ({"uses": "1"}, 'uses: expected a whole number, found "1"'),
        ({"uses": 1.5}, "uses: expected a whole number, found 1.5"),
        ({"uses": 0}, "uses: expected more than 0, found 0"),
        ({"uses": 10}, "uses: expected at most 9, found 10"),
        ({"share": -1.0}, "share: expected at least 0, found -1.0"),
        ({"share": 1.0}, "share: expected less than 1, found 1.0"),
        ({"share": float("nan")}, "share: expected a finite number, found NaN"),
        ({"share": "x"}, 'share: expected a number, found "x"'),
        ({"names": "pi"}, 'names: expected a list, found "pi"'),
        ({"names": ["a", "b", "c"]}, 'names: expected at most 2 items, found ["a", "b", "c"]'),
        ({"names": [1]}, "names.0: expected text, found 1"),
        ({"labels": []}, "labels: expected an object, found []"),
        ({"labels": {"a": 1}}, "labels.a: expected text, found 1"),
        ({"force": "yes"}, 'force: expected true or false, found "yes"'),
        ({"kind": "c"}, "kind: expected one of 'a' or 'b', found \"c\""),
        ({"nmae": "x"}, "nmae: expected no such field"),
        ({"name": ["x" * 500]}, 'name: expected text, found ["' + "x" * 58 + "..."),
    ],
)
def test_each_fault_says_what_was_expected_and_found(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate(given)
    (fault,) = caught.value.errors()
    assert fault_of(fault) == said


def test_a_consequence_of_another_fault_is_left_out() -> None:
    inner = {"type": "greater_than", "loc": ("passes", 0, "bits"), "input": 1, "ctx": {"gt": 3}}
    outer = {"type": "too_short", "loc": ("passes",), "input": [], "ctx": {"min_length": 1}}
    assert faults_of([inner, outer], 2) == "passes.0.bits: expected more than 3, found 1"
    assert faults_of([outer], 2) == "passes: expected at least 1 item, found []"


def test_what_is_missing_and_what_is_no_json_are_said() -> None:
    assert fault_of({"type": "missing", "loc": ("body", "name")}) == "name: expected a value, found none"
    broken = {"type": "json_invalid", "loc": ("body", 3), "ctx": {"error": "Expecting value"}}
    assert fault_of(broken) == "expected JSON, found text that is none (Expecting value)"
