"""Passes that change matrix products: what is smaller, by how much, what stays, and what they refuse."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_compression.graph.onnx_facts import onnx_facts
from muster_compression.graph.onnx_gemm import split_gemms
from muster_compression.passes.port import Form, PassError, WorkingModel

WEIGHTS = 16 * 64 + 4 * 64 * 64 + 2 * 64 * 128 + 1024 * 10  # embedding, attention, MLP, head


def test_the_models_are_trained(cnn, transformer):
    assert cnn.accuracy(cnn.path) > 0.93
    assert transformer.accuracy(transformer.path) > 0.93


def test_dynamic_int8_quarters_a_transformer_and_needs_no_samples(apply, transformer):
    output = apply("onnx-dynamic-int8", transformer, samples=[])
    facts = onnx_facts(output.model.path)
    before = onnx_facts(transformer.path)
    assert facts.precision == "int8"
    assert facts.operators["MatMulInteger"] == 8
    assert facts.operators["MatMul"] == 2  # of two activations each: there is no weight to quantize
    assert output.record.figures["weights_int8"] == output.record.figures["weights"] == WEIGHTS
    assert output.model.path.stat().st_size < 0.36 * transformer.path.stat().st_size
    assert (facts.params, facts.macs) == (before.params, before.macs)
    assert transformer.sqnr_db(output.model.path) > 30
    assert transformer.accuracy(output.model.path) > transformer.accuracy(transformer.path) - 0.01


def test_int4_weights_take_an_eighth_and_a_scale_per_block(apply, transformer):
    output = apply("onnx-int4-weights", transformer, samples=[])
    facts = onnx_facts(output.model.path)
    before = onnx_facts(transformer.path)
    assert facts.precision == "int4"
    assert facts.operators["MatMulNBits"] == 8
    assert "Gemm" not in facts.operators
    assert output.record.figures == {"weights_int4": WEIGHTS, "weights": WEIGHTS, "operators_int4": 8, "operators": 8}
    assert output.model.path.stat().st_size < 0.25 * transformer.path.stat().st_size
    assert (facts.params, facts.macs) == (before.params, before.macs)
    assert 8 < transformer.sqnr_db(output.model.path) < 30
    assert (
        transformer.accuracy(output.model.path) > transformer.accuracy(transformer.path) - 0.08
    )  # the features are random: they lose more than learnt ones


def test_smaller_blocks_are_closer_and_larger(apply, transformer):
    fine = apply("onnx-int4-weights", transformer, block_size=16).model.path
    coarse = apply("onnx-int4-weights", transformer, block_size=64).model.path
    assert fine.stat().st_size > coarse.stat().st_size
    assert transformer.sqnr_db(fine) > transformer.sqnr_db(coarse)


def test_an_operator_that_is_to_stay_float_stays(apply, transformer):
    for name in ("onnx-int4-weights", "onnx-dynamic-int8"):
        output = apply(name, transformer, keep_float=("head",))
        graph = onnx.load(str(output.model.path)).graph
        kept = [node for node in graph.node if node.name == "head"]
        assert [node.op_type for node in kept] == ["MatMul"]
        assert transformer.sqnr_db(output.model.path) > transformer.sqnr_db(apply(name, transformer).model.path)
    with pytest.raises(PassError, match="no operator is named 'hed'; near it are head"):
        apply("onnx-int4-weights", transformer, keep_float=("hed",))


@pytest.mark.parametrize("name", ["onnx-dynamic-int8", "onnx-int4-weights"])
def test_a_cnn_is_refused_with_the_pass_that_suits_it(apply, cnn, name):
    with pytest.raises(PassError, match=r"at least 50% of the weights .* found 11\.3%: .* take onnx-static-int8"):
        apply(name, cnn)
    output = apply(name, cnn, least_share=0.05)
    kinds = Counter(node.op_type for node in onnx.load(str(output.model.path)).graph.node)
    assert kinds["Conv"] == 4
    assert "ConvInteger" not in kinds


@pytest.mark.parametrize("name", ["onnx-dynamic-int8", "onnx-int4-weights", "onnx-static-int8"])
def test_what_is_quantized_already_is_refused_in_a_line(apply, transformer, name):
    for first in ("onnx-dynamic-int8", "onnx-int4-weights", "onnx-static-int8"):
        with pytest.raises(
            PassError, match=f"{name} expected a float model, found one that is quantized already"
        ) as error:
            apply(name, transformer, apply(first, transformer).model)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["onnx-dynamic-int8", "onnx-int4-weights", "onnx-static-int8"])
def test_an_old_opset_is_refused_with_the_way_out(apply, transformer, tmp_path, name):
    model = onnx.load(str(transformer.path))
    model.opset_import[0].version = 11
    path = tmp_path / "old.onnx"
    onnx.save(model, str(path))
    with pytest.raises(PassError, match=r"expected opset 13 or later .* found 11; put onnx-prepare before it"):
        apply(name, transformer, WorkingModel(path, Form.ONNX))


@pytest.mark.parametrize("name", ["onnx-dynamic-int8", "onnx-int4-weights"])
def test_nothing_to_change_is_a_failure(apply, transformer, tmp_path, name):
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "w"], ["y"], name="add")],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 1, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 16, 16))],
        [numpy_helper.from_array(np.ones((16, 16), np.float32), "w")],
    )
    path = tmp_path / "add.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    with pytest.raises(PassError, match=f"{name} changed nothing: no matrix product has constant weights"):
        apply(name, transformer, WorkingModel(path, Form.ONNX))


def test_the_same_pass_gives_the_same_bytes(apply, transformer):
    for name in ("onnx-dynamic-int8", "onnx-int4-weights"):
        first, second = (apply(name, transformer).model.path.read_bytes() for _ in range(2))
        assert first == second


def test_a_gemm_becomes_a_product_and_a_sum_with_equal_outputs(transformer, tmp_path):
    model = onnx.load(str(transformer.path))
    assert split_gemms(model) == 1
    path = tmp_path / "split.onnx"
    onnx.save(model, str(path))
    onnx.checker.check_model(model, full_check=True)
    assert np.allclose(transformer.answers(path), transformer.answers(transformer.path), rtol=1e-4, atol=1e-4)
    assert path.stat().st_size < transformer.path.stat().st_size + 400  # the old weight is gone


def test_a_weight_that_two_gemms_share_serves_both(tmp_path):
    weight = numpy_helper.from_array(np.arange(9, dtype=np.float32).reshape(3, 3), "w")
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], transB=1),
        helper.make_node("Gemm", ["a", "w"], ["y"], alpha=2.0),
        helper.make_node("Gemm", ["x", "a"], ["z"]),  # no constant: it stays
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (3, 3)) for name in ("x", "y", "z")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight]), opset_imports=[helper.make_opsetid("", 17)]
    )
    assert split_gemms(model) == 2
    assert [node.op_type for node in model.graph.node] == ["MatMul", "MatMul", "Gemm"]
    x, w = np.eye(3, dtype=np.float32), np.arange(9, dtype=np.float32).reshape(3, 3)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    first, second = (values[node.input[1]] for node in model.graph.node[:2])
    assert np.array_equal(x @ first @ second, 2 * (x @ w.T) @ w)
