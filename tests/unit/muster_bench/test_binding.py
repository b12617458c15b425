import pytest

from muster_bench.binding import derive_binding, identity_binding
from muster_bench.errors import FaceError
from muster_bench.runtimes.port import Quantization
from muster_protos.model import Signature, TensorSpec


def signature(shape, dtype="float32", name="image"):
    return Signature((TensorSpec(name, dtype, shape),), (TensorSpec("scores", "float32", (-1, 10)),))


OUTPUT = (TensorSpec("Identity", "float32", (1, 10)),)


def test_tensors_pair_by_position_when_names_differ():
    bound = derive_binding(signature((-1, 3, 8, 8)), (TensorSpec("x", "float32", (1, 3, 8, 8)),), OUTPUT)
    assert (bound.inputs[0].canonical_name, bound.inputs[0].tensor_name, bound.inputs[0].permutation) == (
        "image",
        "x",
        (),
    )
    assert bound.outputs[0].tensor_name == "Identity"


def test_names_win_over_positions():
    two = Signature((TensorSpec("a", "float32", (1,)), TensorSpec("b", "float32", (1,))), ())
    bound = derive_binding(two, (TensorSpec("b", "float32", (1,)), TensorSpec("a", "float32", (1,))), ())
    assert [item.tensor_name for item in bound.inputs] == ["a", "b"]


@pytest.mark.parametrize(
    ("canonical", "own", "permutation"),
    [
        ((-1, 3, 8, 9), (1, 8, 9, 3), (0, 3, 1, 2)),
        ((-1, 8, 9, 3), (1, 3, 8, 9), (0, 2, 3, 1)),
        ((3, 8, 9), (8, 9, 3), (2, 0, 1)),
        ((-1, 1, 28, 28), (1, 28, 28, 1), (0, 3, 1, 2)),
        ((-1, 28, 28), (1, 28, 28, 1), ()),
        ((-1, 64), (1, 64), ()),
    ],
)
def test_layout_follows_from_shapes(canonical, own, permutation):
    bound = derive_binding(signature(canonical), (TensorSpec("x", "float32", own),), OUTPUT)
    assert bound.inputs[0].permutation == permutation


def test_scale_and_zero_point_come_from_the_artifact():
    own = (TensorSpec("x", "int8", (1, 4)),)
    bound = derive_binding(signature((-1, 4)), own, OUTPUT, {"x": Quantization(0.5, -3)})
    assert (bound.inputs[0].dtype, bound.inputs[0].scale, bound.inputs[0].zero_point) == ("int8", 0.5, -3)


def test_an_integer_tensor_without_scale_is_refused_for_a_float_face():
    with pytest.raises(FaceError, match="no scale"):
        derive_binding(signature((-1, 4)), (TensorSpec("x", "uint8", (1, 4)),), OUTPUT)


def test_integer_faces_need_no_scale():
    bound = derive_binding(signature((-1, 4), "int64"), (TensorSpec("x", "int32", (1, 4)),), OUTPUT)
    assert bound.inputs[0].scale is None


def test_other_shapes_and_counts_are_refused():
    with pytest.raises(FaceError, match="NCHW"):
        derive_binding(signature((-1, 3, 8, 8)), (TensorSpec("x", "float32", (1, 4, 8, 8)),), OUTPUT)
    with pytest.raises(FaceError, match="expected 1 inputs"):
        derive_binding(signature((-1, 4)), (), OUTPUT)
    with pytest.raises(FaceError, match="expected 1 outputs"):
        identity_binding(signature((-1, 4)), (TensorSpec("x", "float32", (1, 4)),), ())
