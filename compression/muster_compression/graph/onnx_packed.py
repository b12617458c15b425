"""Keep weights of an ONNX graph in 8 bits: a DequantizeLinear per weight, symmetric, a scale per channel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_LARGEST = 127
_LEAST_RANK = 2  # biases have fewer dimensions
_STANDARD = ("", "ai.onnx")
_WORTH_IT = 0.25  # of the error: 6 dB, one bit
_LEAST_SHARING = 8  # weights that share a scale, which takes four bytes


def pack_weights(model: onnx.ModelProto, least_count: int, kept: Collection[str] = ()) -> list[str]:
    """Pack the float32 weights of convolutions, products and tables, in place; the names of those that were.

    Each keeps its name as the output of its DequantizeLinear, so whoever reads it needs no change, and one that several
    operators read is packed once. A weight stays that has fewer than ``least_count`` values or one that is not finite,
    that an operator named in ``kept`` reads, or that is something else besides: an addend, an input, an output, a
    constant of an inner graph. Operators must have names of their own, and the opset be 13 or later.
    """
    graph = model.graph
    axes = _axes(graph, kept)
    taken = _names(graph)
    constants: list[TensorProto] = []
    unpacking: dict[str, onnx.NodeProto] = {}
    for tensor in graph.initializer:
        values = _weight(tensor, least_count) if tensor.name in axes else None
        if values is None:
            constants.append(tensor)
            continue
        axis = best_axis(values, axes[tensor.name])
        rounded, scales = round_to_int8(values, axis)
        stored, scale, name = (_free(f"{tensor.name}_{end}", taken) for end in ("int8", "scale", "unpacked"))
        constants += [numpy_helper.from_array(rounded, stored), numpy_helper.from_array(scales, scale)]
        unpacking[tensor.name] = helper.make_node(
            "DequantizeLinear", [stored, scale], [tensor.name], name=name, axis=axis
        )
    names = list(unpacking)
    nodes = _each_before_its_first_reader(graph.node, unpacking)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]  # what leaves the graph is invalid
    constants = [TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    return names


def round_to_int8(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """``values`` as -127..127 and a scale for each index of ``axis``: its largest magnitude / 127; 1 where all are 0.

    The scale of the least squared error, which clips a little, was 0.1-0.3 dB better (of 48) on trained ResNets.
    """
    others = tuple(index for index in range(values.ndim) if index != axis)
    scales = (np.abs(values).max(axis=others) / np.float32(_LARGEST)).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(values / _along(scales, axis, values.ndim)), -_LARGEST, _LARGEST).astype(np.int8), scales


def best_axis(values: NDArray[np.float32], usual: int) -> int:
    """Where the scales go: ``usual``, the output channels, unless another axis makes a quarter of the relative error.

    Integer kernels need the scales at the outputs; here nothing does. Behind layers whose outputs differ a hundredfold
    a weight's input channels do, too, and scales at its outputs would round the small ones away, large as their inputs
    are: 18 dB on such a depthwise CNN where this gives 38. On plain trained networks nothing changes.
    """
    errors = {
        axis: _relative_error(values, axis)
        for axis, size in enumerate(values.shape)
        if axis == usual or values.size >= _LEAST_SHARING * size
    }
    best = min(errors, key=lambda axis: errors[axis])
    return best if errors[best] <= _WORTH_IT * errors[usual] else usual


def _relative_error(values: NDArray[np.float32], axis: int) -> float:
    """Squared error over squared values of each channel, inputs and outputs alike: means, summed over the axes."""
    rounded, scales = round_to_int8(values, axis)
    errors = np.square(values - rounded * _along(scales, axis, values.ndim), dtype=np.float64)
    squares = np.square(values, dtype=np.float64)
    total = 0.0
    for channel in range(values.ndim):
        others = tuple(index for index in range(values.ndim) if index != channel)
        power = squares.sum(axis=others)
        total += float(np.mean(errors.sum(axis=others) / np.where(power > 0, power, 1)))
    return total


def _along(scales: NDArray[np.float32], axis: int, rank: int) -> NDArray[np.float32]:
    return scales.reshape([-1 if index == axis else 1 for index in range(rank)])


def _axes(graph: onnx.GraphProto, kept: Collection[str]) -> dict[str, int]:
    """Axis of the scales by the constant's name, for those that nothing but weighted operators reads."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    barred = {value.name for value in (*graph.input, *graph.output)} | set(_inner_names(graph.node))
    axes: dict[str, int] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            axis = None if node.name in kept else _axis(node, index, ranks.get(name, 0))
            if axis is None:
                barred.add(name)
            else:
                axes.setdefault(name, axis)
    return {name: axis for name, axis in axes.items() if name not in barred}


def _axis(node: onnx.NodeProto, index: int, rank: int) -> int | None:
    """That of the output channels (of the rows, for a table) of input ``index``; None = it is no weight there."""
    if rank < _LEAST_RANK or node.domain not in _STANDARD:
        return None
    settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    match (node.op_type, index):
        case ("Conv", 1):
            return 0
        case ("ConvTranspose", 1):  # (inputs, outputs of a group, ...): with groups an input belongs to one of them
            return 1 if settings.get("group", 1) == 1 else 0
        case ("Gemm", 1):
            return 0 if settings.get("transB") else 1
        case ("Gemm", 0):
            return 1 if settings.get("transA") else 0
        case ("MatMul", 1):
            return rank - 1
        case ("MatMul", 0):
            return rank - 2
        case ("Gather", 0):
            return int(settings.get("axis", 0)) % rank
        case _:
            return None


def _weight(tensor: TensorProto, least_count: int) -> NDArray[np.float32] | None:
    """Its values; None = it stays as it is."""
    if tensor.data_type != TensorProto.FLOAT:
        return None
    values: NDArray[np.float32] = numpy_helper.to_array(tensor)
    return values if values.size >= max(least_count, 1) and np.isfinite(values).all() else None


def _inner_names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Names that inner graphs read: they may name outer constants."""
    for node in nodes:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from (name for item in inner.node for name in item.input)
                yield from (value.name for value in inner.output)
                yield from _inner_names(inner.node)


def _names(graph: onnx.GraphProto) -> set[str]:
    taken = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for node in graph.node:
        taken.update((node.name, *node.output))
    return taken | set(_inner_names(graph.node))


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _each_before_its_first_reader(
    nodes: Iterable[onnx.NodeProto], unpacking: dict[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    order: list[onnx.NodeProto] = []
    for node in nodes:
        order += [unpacking.pop(name) for name in dict.fromkeys(node.input) if name in unpacking]
        order.append(node)
    return order
