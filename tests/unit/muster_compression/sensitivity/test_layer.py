import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_compression.sensitivity.closeness import agreement, closeness
from muster_compression.sensitivity.layer import (
    LayerSensitivity,
    least_sensitive_first,
    most_sensitive_first,
    relative_sensitivity,
    tolerant,
)


def layer(name: str, sqnr_db: float | None, params: int = 10, share: float | None = None) -> LayerSensitivity:
    return LayerSensitivity(name, "Conv", params, sqnr_db, share)


SOME = [layer("b", 31.0), layer("a", 12.5), layer("untouched", None), layer("c", 31.0, params=90)]


def test_the_most_sensitive_layer_has_the_lowest_sqnr():
    assert [item.layer for item in most_sensitive_first(SOME)] == ["a", "b", "c", "untouched"]


def test_of_equally_tolerant_layers_the_larger_one_is_worth_more():
    assert [item.layer for item in least_sensitive_first(SOME)] == ["untouched", "c", "b", "a"]


def test_tolerant_layers_hold_the_wanted_sqnr():
    assert [item.layer for item in tolerant(SOME, 20.0)] == ["untouched", "c", "b"]


def test_relative_sensitivity_spans_the_models_own_range():
    found = relative_sensitivity(SOME)
    assert found == {"a": 1.0, "b": 0.0, "c": 0.0, "untouched": 0.0}
    assert relative_sensitivity([layer("x", 5.0), layer("y", 5.0)]) == {"x": 0.0, "y": 0.0}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.none() | st.floats(-20, 80)), unique_by=lambda item: item[0]))
def test_orders_keep_every_layer_and_do_not_depend_on_the_order_given(raw):
    layers = [layer(str(name), value) for name, value in raw]
    assert most_sensitive_first(layers) == most_sensitive_first(layers[::-1])
    assert sorted(item.layer for item in least_sensitive_first(layers)) == sorted(item.layer for item in layers)


def test_sqnr_is_the_ratio_of_powers_in_decibel():
    wanted = [np.full((4, 3), 10.0, np.float32)]
    near = closeness(wanted, [wanted[0] + 1.0])
    assert near.sqnr_db == pytest.approx(20.0)
    assert closeness(wanted, wanted).sqnr_db is None
    assert closeness(wanted, wanted).rank == math.inf


def test_an_answer_that_is_not_finite_is_infinitely_far():
    wanted = [np.ones((2, 3), np.float32)]
    assert closeness(wanted, [np.full((2, 3), np.nan, np.float32)]).sqnr_db == -math.inf


def test_agreement_counts_equal_classes_and_needs_two_of_them():
    wanted = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert agreement(wanted, np.array([[0.4, 0.6], [0.1, 0.7]])) == 0.5
    assert agreement(np.ones((5, 1)), np.ones((5, 1))) is None
