from __future__ import annotations

import numpy as np
import pytest

from benchmarks.compression.paired import Paired


def test_the_share_is_the_ratio_of_the_accuracies():
    found = Paired(n=200, teacher_right=190, lost=6, gained=2)
    assert found.share == pytest.approx(186 / 190)


def test_answers_that_never_differ_leave_little_doubt_and_many_differences_more():
    same = Paired(5000, 4900, 0, 0).interval
    other = Paired(5000, 4900, 100, 100).interval
    assert same[0] < 1 < same[1]
    assert other[1] - other[0] > 5 * (same[1] - same[0])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    n, lost, gained, teacher = 500, 0.03, 0.01, 0.95
    hits = 0
    for _ in range(1000):
        counts = random.multinomial(n, [lost, gained, teacher - lost, 1 - teacher - gained])
        right = int(counts[0] + counts[2])
        low, high = Paired(n, right, int(counts[0]), int(counts[1])).interval
        hits += low <= 1 + (gained - lost) / teacher <= high
    assert 0.93 < hits / 1000 < 0.99


def test_without_a_right_answer_there_is_no_share():
    assert Paired(10, 0, 0, 3).share == 0.0
