import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_compression.sensitivity.closeness import Closeness
from muster_compression.sensitivity.exclusion import Goal, exclude_greedily

NAMES = ["a", "b", "c", "d", "e"]


class Model:
    """Each layer in float brings its own decibels, together with another one some more or less."""

    def __init__(self, gains, pairs=()):
        self.gains, self.pairs, self.asked = gains, dict(pairs), []

    def __call__(self, excluded):
        self.asked.append(excluded)
        found = 30.0 + sum(self.gains.get(name, 0.0) for name in excluded)
        found += sum(value for pair, value in self.pairs.items() if set(pair) <= excluded)
        return Closeness(found, min(1.0, found / 50))


def search(model, goal=None, costs=None):
    return exclude_greedily(NAMES, model, goal or Goal(), costs or {})


def test_the_best_of_the_most_sensitive_layers_is_taken_first():
    found = search(Model({"a": 1.5, "b": 5.0, "c": 0.2}))
    assert found.layers == ("b", "a")
    assert (found.start.sqnr_db, found.end.sqnr_db) == (30.0, 36.5)
    assert found.reason == "more gain less than 1 dB"


def test_layers_that_make_it_worse_stay_quantized():
    found = search(Model(dict.fromkeys(NAMES, -0.5)))
    assert found.layers == ()
    assert found.end == found.start


def test_two_layers_that_only_help_together_are_found():
    found = search(Model({}, {("a", "b"): 6.0}))
    assert set(found.layers) == {"a", "b"}
    assert found.end.sqnr_db == 36.0
    assert search(Model({}, {("a", "b"): 1.5})).layers == ()  # less than 1 dB for each


def test_it_stops_at_the_target_and_asks_no_further():
    model = Model({"a": 4.0, "b": 4.0, "c": 4.0})
    found = search(model, Goal(sqnr_db=33.0))
    assert (found.layers, found.reason) == (("a",), "the target is met")
    assert found.tried == len(model.asked) == 4
    assert search(Model({}), Goal(sqnr_db=29.0)).layers == ()
    assert search(Model({"a": 9.0}), Goal(agreement=0.75)).layers == ("a",)


def test_it_stops_at_the_number_allowed():
    found = search(Model(dict.fromkeys(NAMES, 3.0)), Goal(most_excluded=2))
    assert (len(found.layers), found.reason) == (2, "2 are as many as allowed")


def test_layers_beyond_the_budget_are_not_tried():
    model = Model({"a": 9.0, "b": 4.0, "c": 3.0})
    found = search(model, Goal(most_cost=0.3), {"a": 0.5, "b": 0.2, "c": 0.2, "d": 0.2, "e": 0.2})
    assert (found.layers, found.reason) == (("b",), "those that are left cost too much")
    assert all("a" not in asked for asked in model.asked)


def test_outputs_that_are_equal_already_need_nothing_in_float():
    found = exclude_greedily(NAMES, lambda _names: Closeness(None, 1.0), Goal(), {})
    assert (found.layers, found.tried, found.reason) == ((), 1, "nothing differs any more")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(-5, 8)), st.integers(1, 5), st.floats(0.1, 3))
def test_every_layer_in_float_paid_for_itself(gains, most, least):
    model = Model(gains)
    found = search(model, Goal(most_excluded=most, least_gain_db=least))
    assert len(found.layers) <= most
    assert found.end.rank >= found.start.rank + least * bool(found.layers) - 1e-9
    assert found.tried == len(model.asked)
    assert found.end.sqnr_db == pytest.approx(model(frozenset(found.layers)).sqnr_db)
