"""Bias correction of a statically quantized ONNX model: the mean error of rounded weights goes into the biases."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from muster_compression.dataset.splits import Array
from muster_compression.graph.bias_shift import Floats, Window, convolution_shift, product_shift

_IMAGE_RANK = 4


def mean_inputs(model: onnx.ModelProto, feeds: Iterable[dict[str, Array]]) -> dict[str, Floats]:
    """Mean over the samples of what each convolution and Gemm with a constant bias reads, by tensor name."""
    import onnxruntime

    names = sorted({node.input[0] for node in _correctable(model)})
    if not names:
        return {}
    watched = copy.deepcopy(model)
    have = {value.name for value in watched.graph.output} | {value.name for value in watched.graph.input}
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in have)
    inputs = {value.name for value in watched.graph.input}
    asked = [name for name in names if name not in inputs]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums: dict[str, Floats] = {}
    count = 0
    for feed in feeds:
        found = dict(zip(asked, session.run(asked, feed), strict=True)) if asked else {}
        for name in names:
            values = np.asarray(found.get(name, feed.get(name)), np.float64)
            sums[name] = sums[name] + values.mean(0) if name in sums else values.mean(0)
        count += 1
    return {name: total / count for name, total in sums.items()}


def bias_shifts(
    model: onnx.ModelProto, quantized: onnx.ModelProto, means: Mapping[str, Floats]
) -> dict[str, NDArray[np.float32]]:
    """What to add to the bias of each operator whose weights are integers in ``quantized``, by its name."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    makers = {output: node for node in quantized.graph.node for output in node.output}
    readers = {node.name: node for node in quantized.graph.node}
    shifts: dict[str, NDArray[np.float32]] = {}
    for node in _correctable(model):
        same = readers.get(node.name)
        maker = None if same is None else makers.get(same.input[1])
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in stored:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        shift = _shift(node, _dequantized(maker, stored) - weight, means[node.input[0]])
        if shift is not None:
            shifts[node.name] = (-shift).astype(np.float32)
    return shifts


def with_shifted_biases(model: onnx.ModelProto, shifts: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """A copy; each operator gets a bias of its own, so that one that two share stays right."""
    made = copy.deepcopy(model)
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    for node in made.graph.node:
        if node.name in shifts:
            bias = numpy_helper.to_array(constants[node.input[2]])
            name = f"{node.name}_corrected_bias"
            made.graph.initializer.append(numpy_helper.from_array(bias + shifts[node.name], name))
            node.input[2] = name
    used = {name for node in made.graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _correctable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Convolutions of images and plain Gemms with constant weight and bias."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm")
        and len(node.input) > 2
        and node.input[1] in constants
        and node.input[2] in constants
    ]


def _dequantized(maker: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> Floats:
    values = numpy_helper.to_array(stored[maker.input[0]]).astype(np.float64)
    scale = numpy_helper.to_array(stored[maker.input[1]]).astype(np.float64)
    zero = numpy_helper.to_array(stored[maker.input[2]]).astype(np.float64) if len(maker.input) > 2 else np.zeros(())
    if scale.ndim == 1 and len(scale) > 1:
        axis = _settings(maker).get("axis", 1) % values.ndim
        shape = [-1 if index == axis else 1 for index in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape if zero.size > 1 else [1] * values.ndim)
    made: Floats = (values - zero.reshape(zero.shape or (1,) * values.ndim)) * scale
    return made


def _shift(node: onnx.NodeProto, error: Floats, mean: Floats) -> Floats | None:
    """None for what is not counted: 1-D and 3-D convolutions, automatic padding, factors and transpositions."""
    settings = _settings(node)
    if node.op_type == "Gemm":
        if settings.get("transA") or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
            return None
        return product_shift(mean, error.T if settings.get("transB") else error)
    if error.ndim != _IMAGE_RANK or settings.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    window = Window(
        tuple(settings.get("strides", (1, 1))),
        tuple(settings.get("dilations", (1, 1))),
        tuple(settings.get("pads", (0, 0, 0, 0))),
        settings.get("group", 1),
    )
    return convolution_shift(mean, error, window)


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
