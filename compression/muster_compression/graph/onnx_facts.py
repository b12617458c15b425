"""Parameters, MACs, precision, sparsity and operators of an ONNX file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from muster_compression.graph.facts import GraphFacts, precision_of
from muster_compression.graph.onnx_clean import load_onnx
from muster_compression.graph.onnx_weights import packed_weights

_PRECISIONS: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.DOUBLE: "fp64",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "int4",
}
_WEIGHTED = frozenset(
    (
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "MatMulNBits",
        "QLinearConv",
        "QLinearMatMul",
    )
)
_SMALLEST_WEIGHT = 2  # dimensions; biases, scales and shapes have fewer
_MOST_COUNTED_FOR_SPARSITY = 2**31


def onnx_facts(path: Path) -> GraphFacts:
    """Facts of a checked file; MACs are None when a shape is unknown."""
    model = load_onnx(path)
    graph = model.graph
    packed = {name for node in graph.node if node.op_type == "MatMulNBits" for name in node.input[1:]}
    weights = [item for item in graph.initializer if item.data_type in _PRECISIONS and item.name not in packed]
    kernels = [tensor for tensor in weights if len(tensor.dims) >= _SMALLEST_WEIGHT] or weights
    by_dtype: Counter[str] = Counter()
    for tensor in kernels:
        by_dtype[_PRECISIONS[tensor.data_type]] += math.prod(tensor.dims)
    in_blocks = [found for node in graph.node if (found := packed_weights(node)) is not None]
    for count, bits in in_blocks:
        by_dtype[f"int{bits}"] += count
    return GraphFacts(
        precision=precision_of(by_dtype),
        params=_count_params(graph, weights) + sum(count for count, _ in in_blocks),
        macs=_count_macs(model),
        sparsity=_sparsity(kernels),
        opset=next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), None),
        operators=dict(sorted(Counter(node.op_type for node in graph.node).items())),
    )


def _count_params(graph: onnx.GraphProto, weights: Sequence[TensorProto]) -> int:
    """Trained values: scales and zero points of quantized operators are not counted, int32 biases are."""
    helpers = _scales_and_zero_points(graph)
    own = sum(math.prod(tensor.dims) for tensor in weights if tensor.name not in helpers)
    biases = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.input}
    return own + sum(
        math.prod(tensor.dims)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT32 and tensor.name in biases
    )


def _scales_and_zero_points(graph: onnx.GraphProto) -> set[str]:
    """Names of constants and tensors; a dynamically quantized product multiplies its scale by the activation's."""
    names: set[str] = set()
    measured = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    for node in graph.node:
        match node.op_type:
            case "QuantizeLinear" | "DequantizeLinear":
                names.update(node.input[1:])
            case "MatMulInteger" | "ConvInteger":
                names.update(node.input[2:])
            case "Mul" if measured & set(node.input):
                names.update(node.input)
            case _:
                pass
    return names


def _sparsity(kernels: Sequence[TensorProto]) -> float | None:
    total = zeros = 0
    for tensor in kernels:
        size = math.prod(tensor.dims)
        if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4) or size > _MOST_COUNTED_FOR_SPARSITY:
            continue
        values = _values(tensor)
        total += values.size
        zeros += int(np.count_nonzero(values == 0))
    return zeros / total if total else None


def _values(tensor: TensorProto) -> NDArray[np.generic]:
    return numpy_helper.to_array(tensor)


def operator_macs(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates for one sample by the operator's name; those whose shapes are unknown are left out."""
    return {name: macs for name, macs in _macs(model) if macs is not None}


def _count_macs(model: onnx.ModelProto) -> int | None:
    """Of all convolutions and products; None when a shape is unknown."""
    try:
        counted = [macs for _, macs in _macs(model)]
    except (onnx.shape_inference.InferenceError, ValueError):
        return None
    return None if None in counted else sum(macs for macs in counted if macs is not None)


def _macs(model: onnx.ModelProto) -> list[tuple[str, int | None]]:
    """Convolution: output elements x kernel elements per output; matrix product: output elements x shared length."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False)
    shapes = _shapes(inferred.graph)
    return [(node.name, _node_macs(node, shapes)) for node in inferred.graph.node if node.op_type in _WEIGHTED]


def _node_macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    output = shapes.get(node.output[0])
    if (packed := packed_weights(node)) is not None:  # shape inference does not know the operator
        left = shapes.get(node.input[0])
        return None if left is None else math.prod(left[:-1]) * packed[0]
    second = 3 if node.op_type.startswith("QLinear") else 1
    left, right = shapes.get(node.input[0]), shapes.get(node.input[second])
    if output is None or left is None or right is None:
        return None
    if node.op_type in ("Conv", "QLinearConv", "ConvInteger"):
        return math.prod(output) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    if node.op_type == "Gemm":
        is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(output) * left[0 if is_transposed else 1]
    return math.prod(output) * left[-1]


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Shape by tensor name; a free dimension counts as 1 (one sample)."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
    return shapes
