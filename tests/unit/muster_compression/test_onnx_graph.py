import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_compression.graph.facts import precision_of
from muster_compression.graph.onnx_clean import load_onnx, save_onnx, sort_operators
from muster_compression.graph.onnx_facts import onnx_facts
from muster_protos.errors import InvalidInputError


def tensor(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def weight(name: str, *shape: int, zeros: int = 0) -> onnx.TensorProto:
    values = np.ones(shape, np.float32).reshape(-1)
    values[:zeros] = 0
    return numpy_helper.from_array(values.reshape(shape), name)


def convolution() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1], doc_string="/home/someone/net.py"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [tensor("x", 1, 3, 8, 8)],
        [tensor("y", 1, 5)],
        [weight("w", 4, 3, 3, 3, zeros=27), weight("g", 4, 5)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.metadata_props.add(key="stack", value="/home/someone/net.py")
    return model


def test_macs_and_params_are_counted_by_hand(tmp_path):
    facts = onnx_facts(save_onnx(convolution(), tmp_path / "m.onnx"))
    assert facts.macs == 4 * 8 * 8 * 27 + 4 * 5
    assert facts.params == 4 * 27 + 20
    assert facts.sparsity == pytest.approx(27 / 128)
    assert (facts.precision, facts.opset) == ("fp32", 17)
    assert facts.operators["Conv"] == 1


def test_saved_bytes_hold_no_paths_and_repeat(tmp_path):
    first = save_onnx(convolution(), tmp_path / "a.onnx").read_bytes()
    assert b"someone" not in first
    assert first == save_onnx(convolution(), tmp_path / "b.onnx").read_bytes()


def test_operators_are_put_after_what_they_read():
    model = convolution()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sort_operators(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    onnx.checker.check_model(model)


def test_a_cycle_is_refused():
    model = convolution()
    model.graph.node[0].input[0] = "y"
    with pytest.raises(InvalidInputError, match="cycles"):
        sort_operators(model.graph)


def test_weights_in_another_file_are_refused(tmp_path):
    onnx.save(convolution(), str(tmp_path / "m.onnx"), save_as_external_data=True, size_threshold=0)
    with pytest.raises(InvalidInputError, match="one file"):
        load_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("elements", "name"), [({"fp32": 5, "int8": 95}, "int8"), ({"fp32": 50, "int8": 50}, "mixed"), ({}, "")]
)
def test_precision_is_what_nine_tenths_of_the_weights_have(elements, name):
    assert precision_of(elements) == name
