"""Which ONNX files are of 8-bit weights and compute in floats."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_bench.files.packed_weights import are_weights_packed

STORED = numpy_helper.from_array(np.ones((4, 4), np.int8), "q")
SCALE = numpy_helper.from_array(np.ones(4, np.float32), "s")
ZERO = numpy_helper.from_array(np.zeros(4, np.int8), "z")
UNPACK = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def value(name, kind=TensorProto.FLOAT, shape=(1, 4)):
    return helper.make_tensor_value_info(name, kind, shape)


def content(nodes, inputs=None, weights=(STORED, SCALE, ZERO), functions=()):
    graph = helper.make_graph(nodes, "g", inputs or [value("x")], [value("y")], list(weights))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions)).SerializeToString()


def test_unpacked_constants_in_a_float_graph_are():
    assert are_weights_packed(content([UNPACK, PRODUCT]))
    with_zero_point = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1)
    assert are_weights_packed(content([with_zero_point, PRODUCT]))


def test_a_float_model_is_not():
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    assert not are_weights_packed(content([PRODUCT], weights=[weight]))


def test_the_word_alone_is_not_the_operator():
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "DequantizeLinear")
    assert not are_weights_packed(content([helper.make_node("MatMul", ["x", weight.name], ["y"])], weights=[weight]))


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("QuantizeLinear", ["y0", "s"], ["y"]),
        helper.make_node("DynamicQuantizeLinear", ["y0"], ["y", "ys", "yz"]),
        helper.make_node("QLinearMatMul", ["y0", "s", "z", "q", "s", "z", "s", "z"], ["y"]),
        helper.make_node("ConvInteger", ["y0", "q"], ["y"]),
        helper.make_node("MatMulIntegerToFloat", ["y0", "q", "s", "s"], ["y"], domain="com.microsoft"),
        helper.make_node("QGemm", ["y0", "s", "z", "q", "s", "z"], ["y"], domain="com.microsoft"),
        helper.make_node("DynamicQuantizeMatMul", ["y0", "q", "s"], ["y"], domain="com.microsoft"),
    ],
    ids=lambda node: node.op_type,
)
def test_a_model_that_computes_in_integers_is_not(node):
    first = helper.make_node("MatMul", ["x", "w"], ["y0"])
    assert not are_weights_packed(content([UNPACK, first, node]))


def test_a_graph_that_computes_in_integers_within_a_branch_is_not():
    inner = [helper.make_node("QuantizeLinear", ["p", "s1"], ["i"]), helper.make_node("Cast", ["i"], ["o"], to=1)]
    body = helper.make_graph(inner, "b", [], [value("o")])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    constants = [numpy_helper.from_array(np.array(True), "c"), numpy_helper.from_array(np.array(1, np.float32), "s1")]
    nodes = [UNPACK, helper.make_node("MatMul", ["x", "w"], ["p"]), branch]
    assert not are_weights_packed(content(nodes, weights=[STORED, SCALE, *constants]))


def test_what_is_not_constant_is_not():
    unpack_input = helper.make_node("DequantizeLinear", ["x8", "s"], ["x"], axis=1)
    assert not are_weights_packed(content([unpack_input, UNPACK, PRODUCT], [value("x8", TensorProto.INT8)]))
    replaceable = [value("x"), value("q", TensorProto.INT8, (4, 4))]
    assert not are_weights_packed(content([UNPACK, PRODUCT], replaceable))
    in_function = helper.make_function(
        "own", "Unpack", ["a", "b"], ["c"], [helper.make_node("DequantizeLinear", ["a", "b"], ["c"])], []
    )
    call = helper.make_node("Unpack", ["q", "s"], ["w"], domain="own")
    assert not are_weights_packed(content([call, PRODUCT], functions=[in_function]))


def test_weights_in_blocks_and_of_other_widths_have_kernels_of_their_own():
    blocks = helper.make_node("DequantizeLinear", ["q", "t"], ["w"], axis=0, block_size=2)
    scales = numpy_helper.from_array(np.ones((2, 4), np.float32), "t")
    assert not are_weights_packed(content([blocks, PRODUCT], weights=[STORED, scales]))
    four_bits = helper.make_tensor("q", TensorProto.INT4, (4, 4), np.zeros(16, np.int8))
    assert not are_weights_packed(content([UNPACK, PRODUCT], weights=[four_bits, SCALE]))


def test_bytes_that_are_cut_off_or_changed_are_never_an_error():
    whole = content([UNPACK, PRODUCT])
    answers = [are_weights_packed(whole[:size]) for size in range(len(whole))]
    assert not any(answers[: whole.index(b"DequantizeLinear")])
    random = np.random.default_rng(0)
    for _ in range(2000):
        broken = bytearray(whole)
        broken[random.integers(len(whole))] = random.integers(256)
        assert are_weights_packed(bytes(broken)) in (True, False)
    for hostile in (b"", b"DequantizeLinear", b"\xff" * 40 + b"DequantizeLinear", b"\x3a\xff\xff\x03DequantizeLinear"):
        assert not are_weights_packed(hostile)
