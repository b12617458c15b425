import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.sketch import RELATIVE_ERROR, LatencySketch, decode_sketch, encode_sketch, sketch_of
from muster_protos.errors import CodecError, InvalidInputError

latencies = st.lists(st.integers(0, 2**62), min_size=1, max_size=200)


@given(latencies, st.floats(0, 1))
def test_every_quantile_is_exact_to_its_relative_error(values, q):
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert sketch_of(values).quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.001)


@given(latencies, latencies)
def test_merging_two_is_sketching_both(first, second):
    assert sketch_of(first).merged(sketch_of(second)) == sketch_of(first + second)


@given(latencies)
def test_bytes_carry_it_whole(values):
    sketch = sketch_of(values)
    assert decode_sketch(encode_sketch(sketch)) == sketch
    assert sketch.n == len(values)


@given(st.binary(max_size=80))
def test_other_bytes_are_a_codec_error_or_a_sketch(payload):
    for candidate in (payload, b"MSK1" + payload):
        try:
            assert decode_sketch(candidate).n >= 0
        except CodecError:
            continue


def test_a_sketch_that_names_a_huge_bucket_is_refused():
    with pytest.raises(CodecError):
        decode_sketch(b"MSK1" + b"\x00" + b"\xff\xff\xff\x7f" + b"\x01\x01")


def test_an_empty_sketch_has_no_quantile():
    assert LatencySketch().quantile(0.5) is None
    assert decode_sketch(encode_sketch(LatencySketch())) == LatencySketch()


def test_negative_latencies_and_quantiles_outside_0_to_1_are_refused():
    with pytest.raises(InvalidInputError):
        sketch_of([-1])
    with pytest.raises(InvalidInputError):
        LatencySketch().quantile(1.1)
