import pytest

from muster_compression.import_model import import_model
from muster_compression.variant_of import variant_of
from muster_protos.errors import InvalidInputError


@pytest.fixture(scope="module")
def parent(model_path, data_path, tmp_path_factory):
    return import_model(str(model_path), "kws", 1, str(data_path), tmp_path_factory.mktemp("parent")).parent


def test_another_layout_is_bridged_and_proven(parent, channels_last_path, tmp_path):
    variant = variant_of(parent, str(channels_last_path), "nhwc", tmp_path / "out")
    assert variant.manifest.binding.inputs[0].permutation == (0, 3, 1, 2)
    assert variant.manifest.accuracy.agreement == 1.0
    assert variant.manifest.accuracy.value == 1.0
    assert variant.manifest.variant_id == "kws.v1.nhwc"


def test_a_stranger_is_refused_with_its_figure_unless_forced(parent, stranger_path, tmp_path):
    with pytest.raises(InvalidInputError, match=r"at least 50% of 64 samples, found \d+\.\d%"):
        variant_of(parent, str(stranger_path), "stranger", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    forced = variant_of(parent, str(stranger_path), "stranger", tmp_path / "out", is_forced=True)
    assert forced.manifest.accuracy.agreement < 0.5


def test_another_face_is_refused(parent, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["scores"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 7))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 7))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "o.onnx")
    with pytest.raises(InvalidInputError, match=r"shape \[1, 3, 12, 12\] in the signature and \[1, 7\]"):
        variant_of(parent, str(tmp_path / "o.onnx"), "other", tmp_path / "out")
