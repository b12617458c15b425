"""The demonstration's models; trains both widths when the user's cache has no weights (about 45 s on two cores)."""

import pytest

from muster_compression.dataset.load import load_data
from muster_compression.digits.train import NARROW, WIDE, accuracy, trained

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("training", [WIDE, NARROW], ids=["wide", "narrow"])
def test_digits_models_are_right_on_unseen_digits(training):
    test = load_data("builtin:digits").test
    assert test is not None
    model = trained(training)
    assert not model.training
    assert accuracy(model, test) >= 0.97
