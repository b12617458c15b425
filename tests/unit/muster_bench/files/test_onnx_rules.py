import time

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from muster_bench.errors import HostileArtifactError, NotExecutableError
from muster_bench.files.onnx_reader import read_onnx
from muster_bench.files.onnx_rules import check_onnx
from muster_bench.files.precision import onnx_precision

WEIGHT = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")


def value(name, shape=(1, 4), kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs=None, outputs=None, weights=(), functions=()):
    inputs = [value("x")] if inputs is None else list(inputs)
    outputs = [value("y")] if outputs is None else list(outputs)
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    return read_onnx(memoryview(helper.make_model(graph, functions=list(functions)).SerializeToString()))


def matmul(weight):
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[weight])


def test_an_honest_model_passes():
    check_onnx(matmul(WEIGHT))


def test_old_files_that_list_weights_as_inputs_pass():
    check_onnx(
        model([helper.make_node("MatMul", ["x", "w"], ["y"])], (value("x"), value("w", (4, 4))), weights=[WEIGHT])
    )


def test_a_subgraph_may_use_values_of_its_surroundings():
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["z"])], "b", [], [value("z")])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    condition = numpy_helper.from_array(np.array(True), "c")
    check_onnx(model([branch], weights=[WEIGHT, condition]))


def test_an_operator_that_is_a_function_of_the_model_itself_passes():
    relu = helper.make_function("own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [])
    check_onnx(model([helper.make_node("Twice", ["x"], ["y"], domain="own")], functions=[relu]))


def test_a_function_that_calls_itself_is_refused():
    again = helper.make_node("Twice", ["a"], ["b"], domain="own")
    twice = helper.make_function("own", "Twice", ["a"], ["b"], [again], [])
    with pytest.raises(HostileArtifactError, match="calls itself"):
        check_onnx(model([helper.make_node("Twice", ["x"], ["y"], domain="own")], functions=[twice]))


def call(name):
    return helper.make_node(name, ["a"], ["b"], domain="own")


def test_external_data_in_an_overload_of_a_function_is_refused():
    outside = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    overloads = [
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Constant", [], ["b"], value=outside)], []),
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], []),
    ]
    overloads[0].overload = "other"
    called = helper.make_node("F", ["x"], ["y"], domain="own")
    called.overload = "other"
    with pytest.raises(HostileArtifactError, match="another file"):
        check_onnx(model([called], functions=overloads))
    overloads[0].CopyFrom(overloads[1])
    overloads[0].overload = "other"
    check_onnx(model([called], functions=overloads))


def test_two_functions_of_one_name_are_refused():
    twice = [helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])] * 2
    with pytest.raises(HostileArtifactError, match="more than one function 'F'"):
        model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=twice)


def test_a_graph_in_two_pieces_which_a_runtime_would_put_together_is_refused():
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")])
    whole = helper.make_model(graph).SerializeToString()
    with pytest.raises(HostileArtifactError, match="more than one graph"):
        read_onnx(memoryview(whole + ModelProto(graph=graph).SerializeToString()))


def test_functions_that_call_each_other_in_a_circle_are_refused():
    circle = [helper.make_function("own", name, ["a"], ["b"], [call(other)], []) for name, other in ("PQ", "QP")]
    with pytest.raises(HostileArtifactError, match="calls itself"):
        check_onnx(model([helper.make_node("P", ["x"], ["y"], domain="own")], functions=circle))


def test_a_chain_of_thousands_of_functions_is_judged_in_the_time_that_reading_it_takes():
    count = 6000
    last = helper.make_function("own", f"F{count - 1}", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    chain = [helper.make_function("own", f"F{i}", ["a"], ["b"], [call(f"F{i + 1}")], []) for i in range(count - 1)]
    read = model([helper.make_node("F0", ["x"], ["y"], domain="own")], functions=[*chain, last])
    began_s = time.process_time()
    check_onnx(read)
    assert time.process_time() - began_s < 3


@pytest.mark.parametrize("location", ["weights.bin", "../../secrets", "/etc/shadow", ""])
def test_weights_in_other_files_are_refused(location):
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    if location:
        outside.external_data.add(key="location", value=location)
    with pytest.raises(HostileArtifactError, match="another file"):
        check_onnx(matmul(outside))


def test_external_data_in_an_attribute_is_refused():
    outside = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    with pytest.raises(HostileArtifactError, match="another file"):
        check_onnx(model([helper.make_node("Constant", [], ["y"], value=outside)]))


@pytest.mark.parametrize(
    ("dims", "message"),
    [([2**40, 4], "more than"), ([-4, 4], "negative dimension"), ([64, 64], "says 4096 values and holds 64 bytes")],
)
def test_weights_with_lying_dimensions_are_refused(dims, message):
    lying = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(64))
    with pytest.raises(HostileArtifactError, match=message):
        check_onnx(matmul(lying))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, -4), "dimension -4"), ((1, 2**40), "more than"), ((0, 4), "dimension of 0"), (None, "no shape")],
)
def test_inputs_with_impossible_shapes_are_refused(shape, message):
    with pytest.raises(HostileArtifactError, match=message):
        check_onnx(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", shape)]))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Add", ["x", "b"], ["a"]), ("Relu", ["a"], ["b"]), ("Relu", ["b"], ["y"])], "cycle"),
        ([("Relu", ["x"], ["y"]), ("Sigmoid", ["x"], ["y"])], "two operators produce"),
        ([("Relu", ["nothing"], ["y"])], "nothing produces it"),
        ([("Relu", ["x"], ["other"])], "nothing produces the output"),
        ([("Relu", ["x"], ["x"]), ("Relu", ["x"], ["y"])], "two operators produce"),
    ],
)
def test_graphs_that_are_no_graphs_are_refused(nodes, message):
    with pytest.raises(HostileArtifactError, match=message):
        check_onnx(model([helper.make_node(*node) for node in nodes]))


def test_custom_operators_no_inputs_and_no_outputs_are_refused():
    with pytest.raises(HostileArtifactError, match=r"evil\.Op needs a library"):
        check_onnx(model([helper.make_node("Op", ["x"], ["y"], domain="evil")]))
    with pytest.raises(HostileArtifactError, match="no inputs"):
        check_onnx(model([helper.make_node("Relu", ["w"], ["y"])], [], weights=[WEIGHT]))
    with pytest.raises(HostileArtifactError, match="no outputs"):
        check_onnx(model([helper.make_node("Relu", ["x"], ["y"])], outputs=[]))
    with pytest.raises(HostileArtifactError, match="without a graph"):
        check_onnx(read_onnx(memoryview(b"\x08\x08")))


def test_sequences_are_well_formed_but_not_served():
    outputs = [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)]
    with pytest.raises(NotExecutableError, match="sequence"):
        check_onnx(model([helper.make_node("SequenceConstruct", ["x"], ["y"])], outputs=outputs))


def test_subgraphs_that_nest_without_end_are_refused():
    def wrapped(graph):
        attribute = b"\x32" + length(graph) + graph  # AttributeProto.g
        node = b"\x2a" + length(attribute) + attribute  # NodeProto.attribute
        return b"\x0a" + length(node) + node  # GraphProto.node

    def length(content):
        size, out = len(content), bytearray()
        while size > 0x7F:
            out.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([*out, size])

    graph = b""
    for _ in range(5000):
        graph = wrapped(graph)
    with pytest.raises(HostileArtifactError, match="nest deeper"):
        read_onnx(memoryview(b"\x08\x08\x3a" + length(graph) + graph))


def of_kind(kind, count=100, name="w"):
    return TensorProto(name=name, data_type=kind, dims=[count], raw_data=bytes(count * 4))


@pytest.mark.parametrize(
    ("kinds", "precision"),
    [
        ({TensorProto.FLOAT: 100}, "fp32"),
        ({TensorProto.FLOAT16: 100, TensorProto.FLOAT: 4}, "fp16"),
        ({TensorProto.INT8: 100, TensorProto.FLOAT: 8, TensorProto.INT32: 90}, "int8"),
        ({TensorProto.UINT8: 60, TensorProto.INT8: 40}, "int8"),
        ({TensorProto.INT8: 50, TensorProto.FLOAT: 50}, "mixed"),
        ({TensorProto.INT4: 100}, "int4"),
        ({TensorProto.INT64: 100}, "fp32"),
    ],
)
def test_precision_is_that_of_the_weights(kinds, precision):
    weights = [of_kind(kind, count, f"w{i}") for i, (kind, count) in enumerate(kinds.items())]
    assert onnx_precision(model([helper.make_node("Relu", ["x"], ["y"])], weights=weights)) == precision


def test_weights_packed_by_matmul_n_bits_count_by_their_bits():
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", bits=4, K=4, N=4)
    found = model([node], weights=[of_kind(TensorProto.UINT8, 1000), of_kind(TensorProto.FLOAT, 50, "s")])
    assert onnx_precision(found) == "int4"
