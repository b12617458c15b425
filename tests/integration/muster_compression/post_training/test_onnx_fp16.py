"""float16 of ONNX models: half the size, the same face, the same answers."""

import onnx
import pytest
from onnx import TensorProto

from muster_compression.graph.onnx_facts import onnx_facts
from muster_compression.passes.port import PassError


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_weights_halve_and_the_face_stays_float32(apply, request, name):
    trained = request.getfixturevalue(name)
    output = apply("onnx-fp16", trained, samples=[])
    graph = onnx.load(str(output.model.path)).graph
    assert onnx_facts(output.model.path).precision == "fp16"
    assert output.model.path.stat().st_size < 0.62 * trained.path.stat().st_size
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
    assert trained.sqnr_db(output.model.path) > 35
    assert trained.accuracy(output.model.path) == pytest.approx(trained.accuracy(trained.path), abs=0.006)
    assert output.record.figures["weights_fp16"] == output.record.figures["weights"]


def test_kinds_that_are_to_stay_float32_do_and_must_exist(apply, cnn):
    output = apply("onnx-fp16", cnn, keep_float32=("Gemm",))
    assert output.record.figures["weights"] - output.record.figures["weights_fp16"] == 128 * 10 + 10
    with pytest.raises(PassError, match="no operator of the kind 'Gem' is in the graph; there are AveragePool, Conv"):
        apply("onnx-fp16", cnn, keep_float32=("Gem",))
