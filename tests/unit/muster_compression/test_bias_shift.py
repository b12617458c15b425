import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_compression.graph.bias_shift import Window, convolution_shift, product_shift


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 2**16),
)
def test_the_shift_is_the_mean_of_what_a_real_convolution_gives(kernel, strides, dilations, pads, groups, seed):
    random = np.random.default_rng(seed)
    images = random.normal(0, 1, (5, 4, 9, 8))
    error = random.normal(0, 1, (8, 4 // groups, kernel, kernel))
    top, left, bottom, right = pads
    padded = torch.nn.functional.pad(torch.from_numpy(images), (left, right, top, bottom))
    outputs = torch.nn.functional.conv2d(
        padded, torch.from_numpy(error), stride=strides, dilation=dilations, groups=groups
    )
    found = convolution_shift(images.mean(0), error, Window(strides, dilations, pads, groups))
    assert found == pytest.approx(outputs.mean((0, 2, 3)).numpy(), abs=1e-9)


def test_a_product_shifts_by_the_product_of_the_means():
    random = np.random.default_rng(0)
    rows, error = random.normal(1, 1, (20, 6)), random.normal(0, 1, (6, 3))
    assert product_shift(rows.mean(0), error) == pytest.approx((rows @ error).mean(0))
