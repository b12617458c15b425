import pytest

from muster_protos.metric_names import (
    BUILT_IN,
    is_error_metric,
    is_regression_metric,
    is_share,
    is_user_metric,
    user_metric,
)


@pytest.mark.parametrize(
    ("name", "is_error"),
    [("accuracy", False), ("auc", False), ("r2", False), ("mae", True), ("mse", True), ("rmse", True), ("", False)],
)
def test_errors_are_better_when_they_are_small(name, is_error):
    assert is_error_metric(name) is is_error
    assert not is_user_metric(name)


@pytest.mark.parametrize("function", [*BUILT_IN, "f1_macro"])
@pytest.mark.parametrize("is_higher_better", [True, False])
def test_a_users_metric_keeps_its_direction_and_is_never_taken_for_one_of_ours(function, is_higher_better):
    name = user_metric(function, is_higher_better)
    assert is_user_metric(name)
    assert is_error_metric(name) is not is_higher_better
    assert name not in BUILT_IN
    assert not is_share(name)
    assert not is_regression_metric(name)
