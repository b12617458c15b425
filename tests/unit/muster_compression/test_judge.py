import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_compression.judge import GOLDEN_COUNT, golden_indices, golden_tolerance


@given(st.integers(1, 600), st.none() | st.integers(1, 12))
def test_golden_samples_are_distinct_and_inside(count, classes):
    labels = None if classes is None else np.arange(count) % classes
    chosen = golden_indices(count, labels)
    assert len(chosen) == len(set(chosen)) == min(GOLDEN_COUNT, count)
    assert all(0 <= index < count for index in chosen)


def test_golden_samples_cover_the_classes():
    labels = np.array([0] * 500 + [1, 2, 3])
    assert set(labels[golden_indices(len(labels), labels)].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("precision", "share"), [("fp32", 0.005), ("fp16", 0.02), ("int8", 0.05), ("mixed", 0.05)])
def test_tolerance_is_a_share_of_the_range_by_precision(precision, share):
    outputs = {"out_y": np.array([[-1.0, 3.0]])}
    assert golden_tolerance(outputs, {}, precision) == pytest.approx(share * 4)


def test_tolerance_follows_the_quantization_error_up_to_a_quarter_of_the_range():
    outputs = {"out_y": np.array([[0.0, 4.0]])}
    near = {"y": np.array([[0.15, 4.0]])}
    far = {"y": np.array([[2.0, 4.0]])}
    assert golden_tolerance(outputs, near, "int8") == pytest.approx(0.3)
    assert golden_tolerance(outputs, far, "int8") == pytest.approx(1.0)


def test_constant_outputs_still_have_a_tolerance():
    assert golden_tolerance({"out_y": np.ones((2, 2))}, {}, "fp32") == pytest.approx(1e-4)
