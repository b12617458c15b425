import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_compression.floor import FloorKind, check_reachable, missed, parse_floor
from muster_protos.errors import InvalidInputError
from muster_protos.model import Accuracy

BASELINE = Accuracy(n=100, metric="accuracy", value=0.9, agreement=1.0)


def found(value: float | None, agreement: float = 1.0, metric: str = "accuracy") -> Accuracy:
    return Accuracy(n=100, metric=metric, value=value, agreement=agreement)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("0.88", FloorKind.ABSOLUTE, 0.88), ("-0.01", FloorKind.DROP, 0.01), ("0.99rel", FloorKind.RELATIVE, 0.99)],
)
def test_three_forms_are_read(text, kind, value):
    floor = parse_floor(text)
    assert floor is not None
    assert (floor.kind, floor.value) == (kind, value)


def test_no_text_is_no_floor():
    assert parse_floor(" ") is None


@pytest.mark.parametrize("text", ["high", "0.9%", "-0.9rel", "1e-3", "0.9 0.8"])
def test_anything_else_is_refused_with_the_three_forms(text):
    with pytest.raises(InvalidInputError, match=r"0\.88 .*-0\.01 .*0\.99rel"):
        parse_floor(text)


@pytest.mark.parametrize(
    ("floor", "value", "is_kept"),
    [
        ("0.88", 0.88, True),
        ("0.88", 0.879, False),
        ("-0.01", 0.89, True),
        ("-0.01", 0.885, False),
        ("0.99rel", 0.891, True),
        ("0.99rel", 0.89, False),
    ],
)
def test_floor_is_a_border(floor, value, is_kept):
    assert (missed(parse_floor(floor), found(value), BASELINE) == "") is is_kept


def test_a_miss_names_both_figures():
    reason = missed(parse_floor("0.95"), found(0.912), BASELINE)
    assert "91.20%" in reason
    assert "95.00%" in reason


def test_without_labels_agreement_stands_for_accuracy():
    unlabelled = Accuracy(n=100, agreement=1.0, unavailable_reason="no labels")
    assert missed(parse_floor("-0.01"), found(None, 0.995), unlabelled) == ""
    assert "agreement" in missed(parse_floor("-0.01"), found(None, 0.98), unlabelled)


def test_errors_may_not_rise():
    baseline = Accuracy(n=10, metric="mae", value=2.0)
    assert missed(parse_floor("0.99rel"), found(2.01, metric="mae"), baseline) == ""
    assert "over" in missed(parse_floor("0.99rel"), found(2.1, metric="mae"), baseline)


@given(st.floats(0, 1), st.sampled_from(["0.5", "-0.1", "0.9rel"]))
def test_the_baseline_itself_is_never_under_a_relative_floor(value, text):
    baseline = Accuracy(n=10, metric="accuracy", value=value)
    floor = parse_floor(text)
    if floor.kind is not FloorKind.ABSOLUTE:
        assert missed(floor, baseline, baseline) == ""


@pytest.mark.parametrize("text", ["1.5", "1.01rel", "-2"])
@pytest.mark.parametrize("baseline", [BASELINE, found(None)])
def test_a_floor_that_nothing_reaches_is_refused_but_for_errors(text, baseline):
    with pytest.raises(InvalidInputError, match="at most 1"):
        check_reachable(parse_floor(text), baseline)
    check_reachable(parse_floor(text), found(1.2, metric="mae"))
    check_reachable(parse_floor("1"), baseline)
