from __future__ import annotations

import pytest

from benchmarks.compression.goals import Goal, Reached, verdict

GOAL = Goal(size_ratio=100, latency_ratio=15, accuracy_share=0.99)


def test_a_goal_is_met_on_all_three_axes_or_not_at_all():
    found = verdict(GOAL, [Reached("a", 100.0, 15.0, 0.99)])
    assert found is not None
    assert (found.is_met, found.text) == (True, "met")


@pytest.mark.parametrize(
    ("reached", "text"),
    [
        (Reached("a", 99.0, 20.0, 1.0), "99.0x smaller instead of 100x"),
        (Reached("a", 120.0, 12.34, 1.0), "12.3x faster instead of 15x"),
        (Reached("a", 120.0, None, 1.0), "latency not measured, wanted 15x"),
        (Reached("a", 120.0, 20.0, 0.98), "98.00% of the teacher's accuracy, 1.00 points under the goal"),
        (Reached("a", 50.0, 20.0, None), "50.0x smaller instead of 100x; accuracy not known"),
    ],
)
def test_a_goal_that_is_missed_says_by_how_much(reached, text):
    found = verdict(GOAL, [reached])
    assert found is not None
    assert (found.is_met, found.text) == (False, text)


def test_the_variant_that_meets_it_wins_over_one_that_is_better_on_two_axes():
    small = Reached("small", 900.0, 90.0, 0.9)
    even = Reached("even", 101.0, 15.1, 0.991)
    best = verdict(GOAL, [small, even])
    assert best is not None
    assert best.reached is even


def test_of_those_that_meet_it_the_most_accurate_one_is_told():
    better = Reached("better", 101.0, 16.0, 0.999)
    best = verdict(GOAL, [Reached("faster", 300.0, 60.0, 0.991), better])
    assert best is not None
    assert best.reached is better


def test_nothing_has_no_verdict():
    assert verdict(GOAL, []) is None
