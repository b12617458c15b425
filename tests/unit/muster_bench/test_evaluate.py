import numpy as np
import pytest

from muster_bench.evaluate import NO_LABELS, evaluate
from muster_bench.face import Face, identity_binding
from muster_bench.testing import FunctionSession
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature, TensorSpec


def face(function, width_in=3, width_out=3, task="", metric=""):
    signature = Signature(
        (TensorSpec("x", "float32", (-1, width_in)),),
        (TensorSpec("scores", "float32", (-1, width_out)),),
        task=task,
        metric=metric,
    )
    session = FunctionSession(signature.inputs, signature.outputs, lambda feeds: {"scores": function(feeds["x"])})
    return Face(session, signature, identity_binding(signature, session.inputs, session.outputs))


def archive(tmp_path, **arrays):
    path = tmp_path / "evaluation.npz"
    np.savez(path, **arrays)
    return path


def one_hot(labels, width=3):
    return np.eye(width, dtype=np.float32)[labels]


def test_accuracy_with_wilson_interval_and_agreement(tmp_path):
    labels = np.array([0, 1, 2] * 30 + [0] * 10)
    x = one_hot(labels)
    wrong = labels.copy()
    wrong[:10] = (wrong[:10] + 1) % 3
    found = evaluate(
        face(lambda x: x, width_out=3, task="classification"), archive(tmp_path, x_x=x, y=wrong, ref_scores=x)
    )
    assert (found.n, found.metric, found.value) == (100, "accuracy", 0.9)
    assert (found.ci_low, found.ci_high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert (found.agreement, found.max_abs_error) == (1.0, 0.0)
    assert found.cosine_distance == pytest.approx(0.0)
    assert found.ece == pytest.approx(0.1)


def test_one_corrupted_label_changes_the_value(tmp_path):
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    right = evaluate(face(lambda x: x, task="classification"), archive(tmp_path, x_x=one_hot(labels), y=labels))
    labels_now = labels.copy()
    labels_now[3] = 1
    worse = evaluate(face(lambda x: x, task="classification"), archive(tmp_path, x_x=one_hot(labels), y=labels_now))
    assert (right.value, worse.value) == (1.0, 7 / 8)


def test_without_labels_the_value_is_none_and_agreement_still_counts(tmp_path):
    x = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    reference = x.copy()
    reference[:5] = np.roll(reference[:5], 1, axis=1)
    found = evaluate(face(lambda x: x, task="classification"), archive(tmp_path, x_x=x, ref_scores=reference))
    assert (found.value, found.ci_low, found.ece, found.unavailable_reason) == (None, None, None, NO_LABELS)
    assert found.agreement == pytest.approx(0.9)
    assert found.agreement_ci_low < 0.9 < found.agreement_ci_high
    assert found.max_abs_error > 0


def test_without_references_agreement_is_none(tmp_path):
    found = evaluate(
        face(lambda x: x, task="classification"), archive(tmp_path, x_x=one_hot([0, 1]), y=np.array([0, 1]))
    )
    assert (found.agreement, found.max_abs_error, found.cosine_distance) == (None, None, None)


def test_a_reconstruction_is_scored_by_its_error(tmp_path):
    x = np.ones((40, 3), np.float32)
    x[20:] = 5.0
    labels = np.array([0] * 20 + [1] * 20)
    found = evaluate(face(lambda x: np.ones_like(x), metric="auc"), archive(tmp_path, x_x=x, y=labels))
    assert (found.metric, found.value, found.ece) == ("auc", 1.0, None)
    labels[0] = 1
    assert evaluate(face(lambda x: np.ones_like(x), metric="auc"), archive(tmp_path, x_x=x, y=labels)).value < 1.0


def test_one_class_has_no_area(tmp_path):
    found = evaluate(face(lambda x: x, metric="auc"), archive(tmp_path, x_x=one_hot([0, 1]), y=np.zeros(2, int)))
    assert (found.value, found.unavailable_reason) == (None, "the labels hold one class only")


@pytest.mark.parametrize(("metric", "expected"), [("mae", 0.5), ("mse", 0.25), ("", 0.5)])
def test_regression_is_a_mean_error_with_interval(tmp_path, metric, expected):
    x = np.arange(10, dtype=np.float32)[:, None]
    found = evaluate(
        face(lambda x: x + 0.5, 1, 1, task="regression", metric=metric), archive(tmp_path, x_x=x, y=np.arange(10.0))
    )
    assert found.value == pytest.approx(expected)
    assert found.ci_low <= expected <= found.ci_high


def test_rmse_and_r2_are_known_and_constant_labels_explain_nothing(tmp_path):
    x = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    path = archive(tmp_path, x_x=x, y=np.array([1.0, 2.0, 3.0, 6.0]))
    assert evaluate(face(lambda x: x, 1, 1, metric="rmse"), path).value == pytest.approx(1.0)
    assert evaluate(face(lambda x: x, 1, 1, metric="r2"), path).value == pytest.approx(1 - 4 / 14)
    constant = evaluate(face(lambda x: x, 1, 1, metric="r2"), archive(tmp_path, x_x=x, y=np.ones(4)))
    assert (constant.value, constant.unavailable_reason) == (
        None,
        "the labels are all alike, so there is no variance to explain",
    )


def test_the_mean_square_of_wide_outputs_is_that_of_each_value(tmp_path):
    x = np.array([[1.0, -1.0]], np.float32)
    found = evaluate(face(lambda x: x, 2, 2, task="regression", metric="mse"), archive(tmp_path, x_x=x, y=np.zeros(1)))
    assert found.value == pytest.approx(1.0)


def test_one_output_has_no_calibration_error(tmp_path):
    x = np.array([[0.9], [0.2], [0.7]], np.float32)
    found = evaluate(face(lambda x: x, 1, 1, metric="accuracy"), archive(tmp_path, x_x=x, y=np.array([1, 0, 1])))
    assert (found.value, found.ece) == (1.0, None)


def test_agreement_of_a_regression_is_nearness(tmp_path):
    x = np.arange(1, 11, dtype=np.float32)[:, None]
    reference = x * 1.01
    reference[:3] = x[:3] * 2
    found = evaluate(face(lambda x: x, 1, 1, task="regression"), archive(tmp_path, x_x=x, ref_scores=reference))
    assert found.agreement == pytest.approx(0.7)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="expected 2 labels"):
        evaluate(face(lambda x: x), archive(tmp_path, x_x=one_hot([0, 1]), y=np.array([1])))
    with pytest.raises(InvalidInputError, match="numbers"):
        evaluate(face(lambda x: x), archive(tmp_path, x_x=one_hot([0, 1]), y=np.array(["a", "b"])))


def test_a_known_metric_is_needed_for_labels(tmp_path):
    found = evaluate(face(lambda x: x, metric="bleu"), archive(tmp_path, x_x=one_hot([0, 1]), y=np.array([0, 1])))
    assert found.value is None
    assert "bleu" in found.unavailable_reason
