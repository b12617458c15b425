from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.compression.goals import Goal, Reached, missing, verdict

GOAL = Goal(size_ratio=100, latency_ratio=15, accuracy_share=0.99)
ENOUGH = Reached(100.0, 15.0, 0.99)


def test_a_goal_is_met_on_all_three_axes_or_not_at_all():
    assert missing(GOAL, ENOUGH) == ()
    assert verdict(GOAL, ENOUGH) == "met"


@pytest.mark.parametrize(
    ("reached", "text"),
    [
        (Reached(99.0, 20.0, 1.0), "99.00x smaller instead of 100x"),
        (Reached(120.0, 12.34, 1.0), "12.34x faster instead of 15x"),
        (Reached(120.0, None, 1.0), "latency not measured, wanted 15x"),
        (Reached(120.0, 20.0, 0.98), "98.00% of the teacher's accuracy, 1.00 points under the goal"),
        (Reached(50.0, 20.0, None), "50.00x smaller instead of 100x; accuracy not known"),
    ],
)
def test_a_goal_that_is_missed_says_by_how_much(reached, text):
    assert verdict(GOAL, reached) == f"missed: {text}"


def test_a_test_set_that_is_too_small_to_be_sure_is_told():
    unsure = replace(ENOUGH, accuracy_share=0.995, share_low=0.97, share_high=1.02)
    assert verdict(GOAL, unsure).startswith("met (too few samples")
    assert verdict(GOAL, replace(unsure, accuracy_share=0.98)).endswith("(too few samples to be sure of the accuracy)")
    assert verdict(GOAL, replace(unsure, share_low=0.991)) == "met"
    assert "too few" not in verdict(GOAL, replace(unsure, accuracy_share=0.9, share_low=0.88, share_high=0.92))


def test_rounds_that_disagree_and_a_busy_machine_are_told_beside_the_verdict():
    wide = replace(ENOUGH, latency_low=14.0, latency_high=16.0)
    assert verdict(GOAL, wide) == "met (rounds disagree on the latency)"
    assert verdict(GOAL, replace(wide, latency_low=15.0, is_noisy=True)) == "met (noisy)"
