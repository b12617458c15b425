import pytest

from muster_compression.search.domain import Domain, Parameter
from muster_compression.search.point import Point
from muster_compression.search.proposing import Enumeration, Estimator, proposer_for

SLOWEST_MS = 10.0
RATIO = Parameter("ratio", Domain((), 0.0, 1.0), ())
KIND = Parameter("kind", Domain(("a", "b", "c")), ())
COUNT = Parameter("count", Domain((), 1.0, 100.0, True, True), ())


def walked(proposer, count, outcome):
    history = []
    for number in range(1, count + 1):
        values = proposer.propose(history)
        if values is None:
            break
        history.append(outcome(number, values))
    return history


def bowl(number, values):
    """Best quality at 0.3, and cheaper the further below 0.8; under the floor beyond that."""
    ratio = values["ratio"]
    return Point(
        number,
        "v",
        values,
        "onnx",
        str(number),
        round(1000 * (1 - ratio)) + 1,
        "accuracy",
        1 - abs(ratio - 0.3),
        latency_ms=1.0 + (1 - ratio),
        under_floor="under" if ratio > 0.8 else "",
    )


def test_small_spaces_are_enumerated_once_in_an_order_of_the_seed():
    two = Parameter("n", Domain((), 1.0, 4.0, is_whole=True), ())
    proposer = proposer_for([KIND, two], 5, 3, SLOWEST_MS)
    assert isinstance(proposer, Enumeration)
    found = [tuple(p.values.values()) for p in walked(proposer, 99, lambda n, v: Point(n, "v", v))]
    assert len(found) == len(set(found)) == 12
    assert found == [tuple(p.values.values()) for p in walked(proposer, 99, lambda n, v: Point(n, "v", v))]
    other = proposer_for([KIND, two], 5, 4, SLOWEST_MS)
    assert found != [tuple(p.values.values()) for p in walked(other, 99, lambda n, v: Point(n, "v", v))]


def test_a_variant_without_parameters_is_one_point():
    assert len(walked(proposer_for([], 5, 0, SLOWEST_MS), 9, lambda n, v: Point(n, "v", v))) == 1


def test_large_spaces_are_estimated_within_their_domains_and_without_repeats():
    proposer = proposer_for([COUNT, KIND], 5, 0, SLOWEST_MS)
    assert isinstance(proposer, Estimator)
    history = walked(proposer, 12, lambda n, v: Point(n, "v", v, "onnx", "", 10, "accuracy", 0.5, latency_ms=1.0))
    seen = [tuple(point.values.values()) for point in history]
    assert len(set(seen)) == 12
    assert all(isinstance(count, int) and 1 <= count <= 100 and kind in "abc" for count, kind in seen)


def test_a_search_that_was_interrupted_goes_on_as_it_would_have():
    whole = walked(Estimator((RATIO,), 7, SLOWEST_MS), 10, bowl)
    first = whole[:6]
    assert Estimator((RATIO,), 7, SLOWEST_MS).propose(first) == whole[6].values


@pytest.mark.parametrize("seed", range(3))
def test_the_estimator_looks_where_the_frontier_is(seed):
    """Drawn at random 11 of 20 points would lie between 0.25 and 0.8, where the frontier is, and 4 under the floor."""
    history = walked(Estimator((RATIO,), seed, SLOWEST_MS), 30, bowl)
    later = [point.values["ratio"] for point in history[10:]]
    assert sum(0.25 <= ratio <= 0.8 for ratio in later) >= 14
    assert all(0 <= ratio <= 1 for ratio in later)


def test_a_point_that_failed_is_not_tried_again_and_teaches_nothing():
    fails = walked(Estimator((RATIO,), 1, SLOWEST_MS), 8, lambda n, v: Point(n, "v", v, failed="no"))
    assert len({point.values["ratio"] for point in fails}) == 8


def test_an_estimated_space_may_be_exhausted_too():
    wide = Parameter("count", Domain((), 1.0, 20.0, False, True), ())
    history = walked(
        Estimator((wide,), 0, SLOWEST_MS), 99, lambda n, v: Point(n, "v", v, "onnx", "", 1, "", None, agreement=1.0)
    )
    assert sorted(point.values["count"] for point in history) == list(range(1, 21))


@pytest.mark.parametrize(("points", "kind"), [(None, Estimator), (20, Enumeration), (10, Estimator)])
def test_the_budget_decides_whether_a_space_is_small(points, kind):
    wide = Parameter("count", Domain((), 1.0, 20.0, False, True), ())
    assert isinstance(proposer_for([wide], points, 0, SLOWEST_MS), kind)
