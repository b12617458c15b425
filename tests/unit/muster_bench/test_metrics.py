import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.metrics import (
    area_under_curve,
    calibration_error,
    cosine_distance,
    explained_variance,
    mean,
    probabilities,
    root_mean_square,
    share,
)


def test_wilson_interval_of_a_perfect_score_does_not_reach_beyond_1():
    figure = share(500, 500)
    assert (figure.value, figure.high) == (1.0, 1.0)
    assert figure.low == pytest.approx(0.99238, abs=1e-5)


@given(st.integers(1, 2000), st.data())
def test_wilson_interval_holds_the_share(n, data):
    hits = data.draw(st.integers(0, n))
    figure = share(hits, n)
    assert 0 <= figure.low <= figure.value + 1e-12
    assert figure.value - 1e-12 <= figure.high <= 1


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_area_is_the_share_of_pairs_in_order(pairs):
    scores = np.array([float(score) for score, _ in pairs])
    is_positive = np.array([flag for _, flag in pairs])
    positives, negatives = scores[is_positive], scores[~is_positive]
    figure = area_under_curve(scores, is_positive)
    if not len(positives) or not len(negatives):
        assert figure is None
        return
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    assert figure.value == pytest.approx(wins / (len(positives) * len(negatives)))


def test_logits_become_probabilities_and_probabilities_stay():
    assert probabilities(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]
    assert probabilities(np.array([[0.25, 0.75]])).tolist() == [[0.25, 0.75]]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    rows = np.array([[0.8, 0.2]] * 10)
    assert calibration_error(rows, np.array([0] * 8 + [1] * 2)) == pytest.approx(0.0)
    assert calibration_error(rows, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)


def test_cosine_distance_counts_zero_rows_as_alike():
    zero, unit = np.zeros((1, 3)), np.eye(3)[:1]
    assert cosine_distance(zero, zero) == 0.0
    assert cosine_distance(unit, zero) == 1.0
    assert cosine_distance(unit, unit * 7) == pytest.approx(0.0)


def test_mean_of_one_value_has_no_interval():
    figure = mean(np.array([3.0]))
    assert (figure.value, figure.low, figure.high) == (3.0, None, None)


def test_the_root_mean_square_is_the_root_of_the_mean_square_and_so_is_its_interval():
    errors = np.array([[3.0], [-4.0], [0.0], [1.0]])
    squared = mean((errors**2).mean(axis=1))
    found = root_mean_square(errors)
    assert found.value == pytest.approx(np.sqrt(26 / 4))
    assert (found.low, found.high) == (0.0, pytest.approx(np.sqrt(squared.high)))


def test_explained_variance_is_one_minus_residual_over_total_and_its_interval_holds_it():
    random = np.random.default_rng(3)
    labels = random.normal(size=200)
    predictions = labels + random.normal(0, 0.5, 200)
    found = explained_variance(predictions, labels)
    expected = 1 - ((predictions - labels) ** 2).sum() / ((labels - labels.mean()) ** 2).sum()
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.2
    assert explained_variance(np.full(200, labels.mean()), labels).value == pytest.approx(0.0)
    assert explained_variance(predictions, np.ones(200)) is None
