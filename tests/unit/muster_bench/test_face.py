import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.errors import FaceError
from muster_bench.face import Face, derive_binding, identity_binding
from muster_bench.face_tensor import InputFace, OutputFace
from muster_bench.runtimes.port import Quantization
from muster_bench.testing import FunctionSession
from muster_protos.model import Binding, Signature, TensorBinding, TensorSpec

SIGNATURE = Signature((TensorSpec("image", "float32", (-1, 2, 3, 3)),), (TensorSpec("sums", "float32", (-1, 2)),))
QUANTIZATION = {"in8": Quantization(0.01, 5), "out8": Quantization(0.1, -10)}


def channel_sums_of_int8_nhwc(feeds):
    """What a quantized NHWC variant does: sums over the channels' pixels, in its own numbers."""
    assert feeds["in8"].dtype == np.int8
    assert feeds["in8"].shape[1:] == (3, 3, 2)
    real = (feeds["in8"].astype(np.float32) - 5) * np.float32(0.01)
    sums = real.sum(axis=(1, 2))
    return {"out8": np.clip(np.rint(sums / 0.1) - 10, -128, 127).astype(np.int8)}


@pytest.fixture
def quantized() -> Face:
    session = FunctionSession(
        (TensorSpec("in8", "int8", (1, 3, 3, 2)),),
        (TensorSpec("out8", "int8", (1, 2)),),
        channel_sums_of_int8_nhwc,
        QUANTIZATION,
    )
    return Face(session, SIGNATURE, derive_binding(SIGNATURE, session.inputs, session.outputs, session.quantization))


def image(value=None):
    if value is not None:
        return np.full((1, 2, 3, 3), value, np.float32)
    return np.random.default_rng(3).uniform(0, 1, (1, 2, 3, 3)).astype(np.float32)


def test_a_quantized_nhwc_variant_answers_like_a_float_nchw_one(quantized):
    sums = quantized.run({"image": image()})["sums"]
    assert sums.dtype == np.float32
    assert sums == pytest.approx(image().sum(axis=(2, 3)), abs=0.15)


def test_bound_queries_convert_at_every_run(quantized):
    feeds = [{"image": image(0.1)}, {"image": image(0.4)}]
    first, second = quantized.bind(feeds)
    for _ in range(2):
        first.run()
        assert first.outputs["sums"] == pytest.approx(np.full((1, 2), 0.9), abs=0.1)
        second.run()
        assert second.outputs["sums"] == pytest.approx(np.full((1, 2), 3.6), abs=0.1)
    feeds[0]["image"][...] = 0.2
    first.run()
    assert first.outputs["sums"] == pytest.approx(np.full((1, 2), 1.8), abs=0.1)


def test_an_identity_face_passes_arrays_through_untouched():
    seen = []
    spec = TensorSpec("x", "float32", (2,))
    face_signature = Signature((spec,), (TensorSpec("y", "float32", (2,)),))
    session = FunctionSession(
        (spec,), face_signature.outputs, lambda feeds: seen.append(feeds["x"]) or {"y": feeds["x"] * 2}
    )
    face = Face(session, face_signature, identity_binding(face_signature, session.inputs, session.outputs))
    x = np.array([1, 2], np.float32)
    assert face.run({"x": x})["y"].tolist() == [2, 4]
    assert seen[0] is x


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "expected the inputs image; found none"),
        ({"picture": image()}, "found picture"),
        ({"image": image().astype(np.float64)}, "expected float32"),
        ({"image": image()[:, :1]}, "found float32 of shape \\[1, 1, 3, 3\\]"),
    ],
)
def test_feeds_that_are_not_the_signatures_are_refused_in_one_line(quantized, feeds, message):
    with pytest.raises(FaceError, match=message) as caught:
        quantized.run(feeds)
    assert "\n" not in str(caught.value)


def test_a_binding_must_cover_signature_and_file():
    session = FunctionSession((TensorSpec("x", "float32", (1,)),), (TensorSpec("y", "float32", (1,)),), dict)
    own = Signature(session.inputs, session.outputs)
    good = identity_binding(own, session.inputs, session.outputs)
    with pytest.raises(FaceError, match="input"):
        Face(session, own, Binding((), good.outputs))
    with pytest.raises(FaceError, match="which the file has not"):
        Face(session, own, Binding(good.inputs, (TensorBinding("y", "z", "float32", (1,)),)))


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4),
    st.floats(0.001, 0.5),
    st.integers(-128, 127),
)
def test_quantizing_and_back_is_off_by_half_a_step_or_clipped(values, scale, zero_point):
    spec = TensorSpec("x", "float32", (4,))
    binding = TensorBinding("x", "q", "int8", (4,), (), scale, zero_point)
    real = np.array(values, np.float32)
    back = OutputFace(spec, binding).convert(InputFace(spec, binding).convert(real))
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    assert np.abs(back - np.clip(real, low, high)).max() <= scale * 0.5 + 1e-3


@given(st.permutations((0, 1, 2, 3)))
def test_permutation_there_and_back_is_the_identity(axes):
    canonical = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    own_shape = [0] * 4
    for i, axis in enumerate(axes):
        own_shape[axis] = canonical.shape[i]
    spec = TensorSpec("x", "float32", (2, 3, 4, 5))
    binding = TensorBinding("x", "t", "float32", tuple(own_shape), tuple(axes))
    tensor = InputFace(spec, binding).convert(canonical)
    assert tensor.shape == tuple(own_shape)
    assert (tensor.transpose(axes) == canonical).all()
    assert (OutputFace(spec, binding).convert(tensor) == canonical).all()


def test_size_1_dimensions_are_bridged_for_any_batch():
    spec = TensorSpec("x", "float32", (-1, 4, 4))
    binding = TensorBinding("x", "t", "float32", (-1, 4, 4, 1))
    assert InputFace(spec, binding).convert(np.zeros((3, 4, 4), np.float32)).shape == (3, 4, 4, 1)
    assert OutputFace(spec, binding).convert(np.zeros((3, 4, 4, 1), np.float32)).shape == (3, 4, 4)
