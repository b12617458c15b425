"""Static int8 of ONNX models: types by target, per channel, biases, and that it beats the library's own default."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from muster_compression.dataset.splits import ONLY_INPUT
from muster_compression.graph.onnx_facts import onnx_facts
from muster_compression.graph.onnx_stem import onnx_stem
from muster_compression.passes.port import PassError


def graph_of(output):
    return onnx.load(str(output.model.path)).graph


def activation_types(graph):
    """Of the zero points of QuantizeLinear."""
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {stored[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}


def weights_of(graph):
    return {
        node.name: numpy_helper.to_array(next(t for t in graph.initializer if t.name == maker.input[0]))
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
        for maker in graph.node
        if maker.output[0] == node.input[1]
    }


@pytest.mark.parametrize(("target", "kind"), [("x86", TensorProto.UINT8), ("arm", TensorProto.INT8)])
def test_activations_are_unsigned_for_x86_and_signed_for_arm(apply, cnn, target, kind):
    output = apply("onnx-static-int8", cnn, target=target, calibration_samples=64)
    assert activation_types(graph_of(output)) == {kind}
    assert {values.dtype for values in weights_of(graph_of(output)).values()} == {np.dtype(np.int8)}
    assert output.record.target_hint == target
    assert output.record.figures["weights_int8"] == output.record.figures["weights"] == 11_296
    assert onnx_facts(output.model.path).precision == "int8"
    assert cnn.accuracy(output.model.path) > cnn.accuracy(cnn.path) - 0.02


def test_one_scale_per_channel_is_closer_than_one_for_all(apply, cnn):
    fine = apply("onnx-static-int8", cnn, calibration_samples=64)
    coarse = apply("onnx-static-int8", cnn, calibration_samples=64, per_channel=False)
    assert cnn.sqnr_db(fine.model.path) > cnn.sqnr_db(coarse.model.path) + 1


def test_seven_bit_weights_stay_within_64(apply, cnn):
    output = apply("onnx-static-int8", cnn, calibration_samples=64, reduce_range=True)
    assert max(int(np.abs(values.astype(int)).max()) for values in weights_of(graph_of(output)).values()) <= 64


def test_biases_take_back_the_mean_error_of_the_weights(apply, cnn):
    """So the mean outputs are nearer to the float model's."""
    raw = apply("onnx-static-int8", cnn, bias_correction=False)
    corrected = apply("onnx-static-int8", cnn)
    assert raw.record.figures["biases_corrected"] == 0
    assert corrected.record.figures["biases_corrected"] == 1
    assert apply("onnx-static-int8", cnn, keep_float=("head",)).record.figures["biases_corrected"] == 0
    wanted = cnn.answers(cnn.path).mean(0)
    before, after = (np.abs(cnn.answers(item.model.path).mean(0) - wanted).mean() for item in (raw, corrected))
    assert after < before


def test_only_the_kinds_that_are_asked_for_are_quantized(apply, cnn):
    output = apply("onnx-static-int8", cnn, calibration_samples=64, operators=("Gemm",))
    assert output.record.figures["operators_int8"] == 1
    assert set(weights_of(graph_of(output))) == {"head"}


def test_operators_that_are_to_stay_float_do(apply, cnn):
    output = apply("onnx-static-int8", cnn, calibration_samples=64, keep_float=("stem", "head"))
    assert set(weights_of(graph_of(output))) == {"depthwise", "pointwise", "coarse"}
    with pytest.raises(PassError, match=r"changed nothing: none of 5 operators with weights was quantized"):
        apply("onnx-static-int8", cnn, keep_float=("stem", "depthwise", "pointwise", "coarse", "head"))


def test_it_is_at_least_as_close_as_the_librarys_default(apply, cnn, transformer, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, images):
            self.samples = iter(images)

        def get_next(self):
            image = next(self.samples, None)
            return None if image is None else {"image": image[None]}

    for trained in (cnn, transformer):
        path = tmp_path / f"{trained.path.stem}.default.onnx"
        quantize_static(str(trained.path), str(path), Reader(trained.train.inputs[ONLY_INPUT][:128]))
        ours = apply("onnx-static-int8", trained, samples=trained.train.inputs[ONLY_INPUT][:128]).model.path
        assert trained.sqnr_db(ours) > trained.sqnr_db(path) - 0.5
        assert trained.accuracy(ours) > trained.accuracy(path) - 0.01


def test_samples_that_are_not_finite_are_named(apply, cnn):
    broken = cnn.train.inputs[ONLY_INPUT][:16].copy()
    broken[7, 0, 0, 0] = np.nan
    with pytest.raises(PassError, match=r"found NaN or infinity in 'image', sample 7 \(1 of 16 are not finite\)"):
        apply("onnx-static-int8", cnn, samples=broken)


def test_the_root_logger_is_what_it_was(apply, cnn):
    import logging

    before = logging.getLogger().level, list(logging.getLogger().handlers)
    apply("onnx-static-int8", cnn, calibration_samples=16)
    apply("onnx-int4-weights", cnn, least_share=0.05)
    assert (logging.getLogger().level, list(logging.getLogger().handlers)) == before


def test_operators_without_names_get_some(apply, cnn, tmp_path):
    from muster_compression.passes.port import Form, WorkingModel

    model = onnx.load(str(cnn.path))
    for node in model.graph.node:
        node.name = ""
    path = tmp_path / "nameless.onnx"
    onnx.save(model, str(path))
    output = apply("onnx-static-int8", cnn, WorkingModel(path, Form.ONNX), calibration_samples=16)
    names = Counter(node.name for node in graph_of(output).node)
    assert max(names.values()) == 1
    assert output.record.figures["operators_int8"] == 5


def test_weights_that_lie_on_the_grid_already_need_no_correction(apply, cnn, tmp_path):
    """As those of a model that was trained with rounding."""
    from muster_compression.passes.port import Form, WorkingModel

    model = onnx.load(str(cnn.path))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            axes = 0 if tensor.name == "head" else tuple(range(1, values.ndim))
            scale = np.abs(values).max(axis=axes, keepdims=True) / 127
            tensor.CopyFrom(numpy_helper.from_array((np.round(values / scale) * scale).astype(np.float32), tensor.name))
    path = tmp_path / "snapped.onnx"
    onnx.save(model, str(path))
    working = WorkingModel(path, Form.ONNX)
    raw, corrected = (apply("onnx-static-int8", cnn, working, bias_correction=on).model.path for on in (False, True))
    assert np.allclose(cnn.answers(raw), cnn.answers(corrected), atol=0.02)


def test_a_float_stem_leaves_the_convolution_that_reads_the_picture_and_nothing_else(apply, cnn):
    output = apply("onnx-static-int8", cnn, calibration_samples=64, stem="float")
    graph = graph_of(output)
    assert set(weights_of(graph)) == {"depthwise", "pointwise", "coarse", "head"}
    assert output.record.figures["stem_float"] == "stem"
    assert output.record.figures["operators_int8"] == output.record.figures["operators"] - 1
    whole = apply("onnx-static-int8", cnn, calibration_samples=64)
    assert cnn.sqnr_db(output.model.path) > cnn.sqnr_db(whole.model.path) - 0.3


def test_a_float_stem_looks_past_what_has_no_weights_but_not_past_what_has(tmp_path):
    kernels = {"first": (4, 3, 3, 3), "second": (4, 4, 3, 3), "wide": (4, 16, 3, 3)}
    weights = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in kernels.items()]
    nodes = [
        onnx.helper.make_node("Mul", ["x", "x"], ["a"], name="square"),
        onnx.helper.make_node("Conv", ["a", "first"], ["b"], name="first"),
        onnx.helper.make_node("Relu", ["b"], ["c"], name="relu"),
        onnx.helper.make_node("Conv", ["c", "second"], ["d"], name="second"),
        onnx.helper.make_node("Conv", ["other", "wide"], ["e"], name="wide"),
    ]
    inputs = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "other")]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [], weights)
    assert onnx_stem(onnx.helper.make_model(graph)) == ("first",)


@pytest.mark.parametrize(("channels", "found"), [(64, ()), (8, ()), (3, ("depthwise",))])
def test_a_depthwise_convolution_reads_the_channels_of_all_its_groups(channels, found):
    kernel = numpy_helper.from_array(np.zeros((channels, 1, 3, 3), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="depthwise", group=channels)
    shape = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, channels, 8, 8))
    graph = onnx.helper.make_graph([node], "g", [shape], [], [kernel])
    assert onnx_stem(onnx.helper.make_model(graph)) == found
