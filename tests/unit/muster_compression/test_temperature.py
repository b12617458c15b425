import numpy as np
import pytest

from muster_bench.metrics import calibration_error
from muster_compression.temperature import calibrate, fit_temperature


def drawn(temperature: float, count: int = 4000, classes: int = 4, seed: int = 0):
    """Logits whose softmax is right only after dividing by ``temperature``."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (count, classes))
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(classes, p=row) for row in chances])
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoiled_the_logits_is_found_again(temperature):
    logits, labels = drawn(temperature)
    found = calibrate(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.calibrated_ece < 0.03
    if temperature != 1.0:
        assert found.calibrated_ece < calibration_error(logits, labels) / 3


def test_probabilities_scale_like_their_logits():
    logits, labels = drawn(2.0, 600)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert calibrate(chances, labels).temperature == pytest.approx(calibrate(logits, labels).temperature, rel=1e-3)


def test_the_fit_has_the_least_loss_among_its_neighbours():
    logits, labels = drawn(1.7, 500)

    def loss(temperature):
        scaled = logits / temperature
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]).mean())

    found = fit_temperature(logits, labels)
    assert loss(found) < loss(found * 1.05)
    assert loss(found) < loss(found / 1.05)


def test_the_error_after_scaling_is_told_of_samples_that_did_not_fit_it():
    """On labels that are noise, a temperature fitted on the same samples would look better than it is."""
    random = np.random.default_rng(5)
    logits, labels = random.normal(0, 4, (60, 3)), random.integers(0, 3, 60)
    found = calibrate(logits, labels)
    own = calibration_error(logits / found.temperature, labels)
    assert found.calibrated_ece != pytest.approx(own, abs=1e-9)


def test_the_order_of_the_samples_does_not_decide_about_the_folds():
    """Every fifth sample is of another kind: by position, no fold would be scaled by samples of its own kind."""
    logits, labels = drawn(1.0, 1000)
    logits[::5] *= 8.0
    shuffled = np.random.default_rng(1).permutation(len(logits))
    in_order, mixed = calibrate(logits, labels), calibrate(logits[shuffled], labels[shuffled])
    assert in_order.calibrated_ece == pytest.approx(mixed.calibrated_ece, abs=0.01)
    assert in_order == calibrate(logits, labels)


def test_a_fold_that_the_others_cannot_fit_is_told():
    labels = np.arange(90) % 3
    scores = np.eye(3)[labels] * 5
    scores[7] = np.eye(3)[(labels[7] + 1) % 3]  # the only wrong answer: without it any temperature is too high
    found = calibrate(scores, labels)
    assert found.unfitted_folds == 1
    assert found.note.startswith("calibrated ECE: 1 of 5 folds could not be fitted by the others")
    assert calibrate(*drawn(2.0, 600)).note == ""


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.eye(3)[np.arange(90) % 3] * 5, np.arange(90) % 3),  # all right
        (np.ones((10, 3)), np.zeros(10, int)),  # too few
        (np.random.default_rng(0).random((90, 1)), np.arange(90) % 2),  # one score
        (np.random.default_rng(0).random((90, 2)), np.arange(90) % 3),  # no such class
    ],
)
def test_what_cannot_be_fitted_is_none(scores, labels):
    assert calibrate(scores, labels) is None
