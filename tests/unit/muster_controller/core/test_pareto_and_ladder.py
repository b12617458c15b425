"""The frontier and the rungs, by their properties."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_controller.core.ladder import SMALLEST_STEP_RATIO, choose_rungs
from muster_controller.core.pareto import dominates, frontier

coordinates = st.integers(0, 6).map(float)
points = st.lists(st.tuples(coordinates, coordinates, coordinates), max_size=25)
falling = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=12, unique=True).map(
    lambda values: sorted(values, reverse=True)
)


@given(points)
def test_nothing_on_the_frontier_is_dominated(found: list[tuple[float, ...]]) -> None:
    kept = frontier(found)
    assert not any(dominates(found[other], found[index]) for index in kept for other in range(len(found)))


@given(points)
def test_whatever_is_off_the_frontier_is_dominated_by_it_or_equal_to_one_of_it(found: list[tuple[float, ...]]) -> None:
    kept = set(frontier(found))
    for index in set(range(len(found))) - kept:
        assert any(dominates(found[other], found[index]) or found[other] == found[index] for other in kept)


@given(points, st.randoms(use_true_random=False))
def test_the_frontier_does_not_depend_on_the_order(found: list[tuple[float, ...]], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {found[index] for index in frontier(found)} == {shuffled[index] for index in frontier(shuffled)}


def test_of_equal_points_the_first_is_kept() -> None:
    assert frontier([(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]) == (0,)


def is_strictly_falling(latencies: list[float]) -> bool:
    logs = [math.log(value) for value in latencies]
    return all(later < earlier for earlier, later in itertools.pairwise(logs))


@given(falling, st.integers(1, 5))
def test_a_ladder_falls_from_the_first_to_the_last_within_its_length(latencies: list[float], rungs: int) -> None:
    if not is_strictly_falling(latencies):
        return
    chosen = choose_rungs(latencies, rungs)
    assert chosen[0] == 0
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) <= rungs
    if rungs > 1:
        assert chosen[-1] == len(latencies) - 1
    if len(chosen) > 2:
        steps = [latencies[a] / latencies[b] for a, b in itertools.pairwise(chosen)]
        assert min(steps) >= SMALLEST_STEP_RATIO - 1e-9


@given(falling, st.integers(2, 5))
def test_no_other_ladder_of_that_length_has_more_even_steps(latencies: list[float], rungs: int) -> None:
    if not is_strictly_falling(latencies):
        return
    chosen = choose_rungs(latencies, rungs)
    others = [
        (0, *between, len(latencies) - 1)
        for between in itertools.combinations(range(1, len(latencies) - 1), max(0, len(chosen) - 2))
    ]
    allowed = [other for other in others if len(other) <= 2 or smallest_step(latencies, other) >= SMALLEST_STEP_RATIO]
    if len(chosen) > 1:
        assert unevenness(latencies, chosen) <= min(unevenness(latencies, other) for other in allowed) + 1e-9


@pytest.mark.parametrize(
    ("latencies", "rungs", "expected"),
    [
        ([100.0, 90.0, 32.0, 30.0, 10.0, 8.0, 3.0], 4, (0, 2, 4, 6)),
        ([100.0, 99.0, 98.0, 10.0], 4, (0, 3)),
        ([100.0, 99.0], 4, (0, 1)),
        ([100.0], 4, (0,)),
        ([100.0, 10.0], 1, (0,)),
        ([], 4, ()),
    ],
)
def test_steps_are_even_and_worth_it(latencies: list[float], rungs: int, expected: tuple[int, ...]) -> None:
    assert choose_rungs(latencies, rungs) == expected


def test_latencies_that_do_not_fall_are_refused() -> None:
    with pytest.raises(ValueError, match="fall strictly"):
        choose_rungs([1.0, 1.0], 3)


def unevenness(latencies: list[float], chosen: tuple[int, ...]) -> float:
    return sum(math.log(latencies[a] / latencies[b]) ** 2 for a, b in itertools.pairwise(chosen))


def smallest_step(latencies: list[float], chosen: tuple[int, ...]) -> float:
    return min(latencies[a] / latencies[b] for a, b in itertools.pairwise(chosen))
