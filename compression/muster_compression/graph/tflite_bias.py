"""Bias correction of a statically quantized TFLite file: the mean error of rounded weights goes into the biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster_compression.artifact import write_bytes
from muster_compression.dataset.splits import Array
from muster_compression.graph.bias_shift import Floats, Window, convolution_shift, product_shift
from muster_compression.graph.tflite_file import load_tflite, packed

_BIAS = 2  # its place among an operator's inputs
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True, slots=True)
class BiasShifts:
    """What to add to the biases of one float file."""

    path: Path
    by_output: Mapping[str, NDArray[np.float32]]  # by the name of the operator's output tensor

    def applied(self, out_path: Path, spared: Collection[str] = ()) -> Path:
        """A copy with shifted biases, except those of the operators in ``spared``; a shared one is told apart."""
        schema, model = load_tflite(self.path)
        graph = model.subgraphs[0]
        fed = [operator.inputs for operator in graph.operators if operator.inputs is not None]
        readers = Counter(int(index) for inputs in fed for index in inputs)
        holders = Counter(int(tensor.buffer) for item in model.subgraphs for tensor in item.tensors)
        for operator, _ in _operators(schema, model):
            name = _name(graph.tensors[int(operator.outputs[0])])
            if name not in self.by_output or name in spared:
                continue
            index = int(operator.inputs[_BIAS])
            bias = graph.tensors[index]
            values = np.frombuffer(np.asarray(model.buffers[bias.buffer].data, np.uint8).tobytes(), np.float32)
            shifted = np.frombuffer((values + self.by_output[name]).astype(np.float32).tobytes(), np.uint8)
            if readers[index] == 1 and holders[int(bias.buffer)] == 1:
                model.buffers[bias.buffer].data = shifted
            else:
                own = _add_constant(schema, model, bias, shifted)
                operator.inputs = [*(int(item) for item in operator.inputs[:_BIAS]), own]
        return write_bytes(out_path, packed(model))


def bias_shifts(path: Path, quantized: Path, feeds: Iterable[Mapping[str, Array]]) -> BiasShifts:
    """Measured on samples by tensor name; layers whose weights are not int8 in ``quantized`` have none."""
    schema, model = load_tflite(path)
    graph = model.subgraphs[0]
    errors = _errors(schema, model, quantized)
    chosen = [
        (operator, kind)
        for operator, kind in _operators(schema, model)
        if int(operator.inputs[1]) in errors and _has_float_bias(model, operator)
    ]
    means = _mean_inputs(path, {int(operator.inputs[0]) for operator, _ in chosen}, feeds)
    found = {}
    for operator, kind in chosen:
        shift = _shift(schema, operator, kind, errors[int(operator.inputs[1])], means[int(operator.inputs[0])])
        found[_name(graph.tensors[int(operator.outputs[0])])] = (-shift).astype(np.float32)
    return BiasShifts(path, found)


def _operators(schema: Any, model: Any) -> Iterator[tuple[Any, str]]:
    """Those of the main graph that have weights and may have a bias."""
    kinds = {getattr(schema.BuiltinOperator, kind): kind for kind in _KINDS}
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds.get(max(int(code.builtinCode), int(code.deprecatedBuiltinCode)))
        if kind is not None and len(operator.inputs) > _BIAS and int(operator.inputs[_BIAS]) >= 0:
            yield operator, kind


def _has_float_bias(model: Any, operator: Any) -> bool:
    bias = model.subgraphs[0].tensors[int(operator.inputs[_BIAS])]
    return model.buffers[bias.buffer].data is not None and int(bias.type) == 0


def _errors(schema: Any, model: Any, quantized: Path) -> dict[int, Floats]:
    """Rounded minus float weight, by the weight's tensor index in the float file; matched by name."""
    _, small = load_tflite(quantized)
    rounded = {_name(tensor): tensor for tensor in small.subgraphs[0].tensors if tensor.type == schema.TensorType.INT8}
    found: dict[int, Floats] = {}
    for operator, _ in _operators(schema, model):
        index = int(operator.inputs[1])
        tensor = model.subgraphs[0].tensors[index]
        data, same = model.buffers[tensor.buffer].data, rounded.get(_name(tensor))
        if data is None or same is None or small.buffers[same.buffer].data is None:
            continue
        floats = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32).reshape(tuple(tensor.shape))
        found[index] = _dequantized(small, same) - floats.astype(np.float64)
    return found


def _dequantized(model: Any, tensor: Any) -> Floats:
    raw = np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), np.int8)
    values = raw.reshape(tuple(tensor.shape)).astype(np.float64)
    scale = np.asarray(tensor.quantization.scale, np.float64)
    if len(scale) > 1:
        shape = [1] * values.ndim
        shape[int(tensor.quantization.quantizedDimension)] = -1
        scale = scale.reshape(shape)
    made: Floats = values * scale  # LiteRT's kernels take symmetric weights only
    return made


def _mean_inputs(path: Path, indices: Collection[int], feeds: Iterable[Mapping[str, Array]]) -> dict[int, Floats]:
    """Mean over the samples of the tensors at ``indices``."""
    import warnings

    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the memory that keeping all tensors takes
        interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    places = {item["name"]: item["index"] for item in interpreter.get_input_details()}
    sums: dict[int, Floats] = {}
    count = 0
    for feed in feeds:
        for name, values in feed.items():
            interpreter.set_tensor(places[name], values)
        interpreter.invoke()
        for index in indices:
            found: Floats = np.asarray(interpreter.get_tensor(index), np.float64)
            sums[index] = sums[index] + found if index in sums else found
        count += 1
    return {index: total / count for index, total in sums.items()}


def _shift(schema: Any, operator: Any, kind: str, error: Floats, mean: Floats) -> Floats:
    if kind == "FULLY_CONNECTED":
        return product_shift(mean.reshape(-1, error.shape[1]).mean(0), error.T)
    options = operator.builtinOptions
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    is_depthwise = kind == "DEPTHWISE_CONV_2D"
    kernel = error.transpose(3, 0, 1, 2) if is_depthwise else error.transpose(0, 3, 1, 2)
    pads = (0, 0, 0, 0)
    if options.padding == schema.Padding.SAME:
        top, bottom = _same(mean.shape[1], kernel.shape[2], strides[0], dilations[0])
        left, right = _same(mean.shape[2], kernel.shape[3], strides[1], dilations[1])
        pads = (top, left, bottom, right)
    image = mean.mean(0).transpose(2, 0, 1)
    groups = mean.shape[3] // kernel.shape[1] if not is_depthwise else mean.shape[3]
    return convolution_shift(image, kernel, Window(strides, dilations, pads, groups))


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding: what is odd goes behind."""
    needed = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return needed // 2, needed - needed // 2


def _add_constant(schema: Any, model: Any, like: Any, payload: NDArray[np.uint8]) -> int:
    """A new tensor with a buffer of its own; its index."""
    buffer = schema.BufferT()
    buffer.data = payload
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    graph = model.subgraphs[0]
    tensor.name = f"corrected_bias_{len(graph.tensors)}".encode()
    tensor.shape, tensor.type, tensor.buffer = like.shape, like.type, len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)
