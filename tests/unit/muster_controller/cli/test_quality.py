import pytest

from muster_controller.cli.quality import quality


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        ({"metric": "accuracy", "value": 0.971, "ci_low": 0.952, "ci_high": 0.986}, "accuracy 97.10% [95.20%, 98.60%]"),
        ({"metric": "auc", "value": 1.0}, "auc 100.00%"),
        ({"metric": "mae", "value": 0.0421, "ci_low": 0.0397, "ci_high": 0.0455}, "mae 0.0421 [0.0397, 0.0455]"),
        ({"metric": "mse", "value": 12.25, "ci_low": None, "ci_high": None}, "mse 12.25"),
        ({"metric": "r2", "value": -0.5}, "r2 -0.5"),
        ({"metric": "user:loss:min", "value": 0.25}, "user:loss:min 0.25"),
        ({"metric": "accuracy", "value": None, "agreement": 0.875}, "agreement 87.50%"),
        ({}, "no labels"),
    ],
)
def test_only_shares_are_percent(accuracy, words):
    assert quality(accuracy) == words
