"""Rewrite Gemm as MatMul and Add: quantizers of weights know only the former."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper


def split_gemms(model: onnx.ModelProto) -> int:
    """Replace each Gemm whose weight is a constant, in place; how many there were.

    Y = alpha A B' + beta C becomes MatMul and Add; alpha, beta and the transposition go into the constants, so that
    the outputs stay equal. A Gemm that transposes A, or whose factors cannot be folded, stays.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in graph.node:
        parts = _parts(graph, node, constants) if node.op_type == "Gemm" else None
        nodes += [node] if parts is None else parts
        count += parts is not None
    if count:
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
        drop_unused(graph)
    return count


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove constants that nothing reads, and notes of shapes that nothing has."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    read |= _inner_names(graph)
    made = {name for node in graph.node for name in node.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    shapes = [value for value in graph.value_info if value.name in made]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    graph.value_info.extend(shapes)


def _parts(
    graph: onnx.GraphProto, node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> list[onnx.NodeProto] | None:
    """The operators that do the same; None when the Gemm must stay."""
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    alpha, beta = float(settings.get("alpha", 1.0)), float(settings.get("beta", 1.0))
    bias = node.input[2] if len(node.input) > 2 else ""
    if settings.get("transA") or node.input[1] not in constants or (bias and beta != 1.0 and bias not in constants):
        return None
    weight = numpy_helper.to_array(constants[node.input[1]])
    weight = np.ascontiguousarray(weight.T if settings.get("transB") else weight)
    own = _add(graph, f"{node.output[0]}_weight", weight if alpha == 1.0 else weight * weight.dtype.type(alpha))
    name = node.name or node.output[0]
    if not bias:
        return [helper.make_node("MatMul", [node.input[0], own], list(node.output), name=name)]
    if beta != 1.0:
        values = numpy_helper.to_array(constants[bias])
        bias = _add(graph, f"{node.output[0]}_bias", values * values.dtype.type(beta))
    product = f"{node.output[0]}_product"
    return [
        helper.make_node("MatMul", [node.input[0], own], [product], name=name),
        helper.make_node("Add", [product, bias], list(node.output), name=f"{name}_add"),
    ]


def _add(graph: onnx.GraphProto, name: str, values: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _inner_names(graph: onnx.GraphProto) -> set[str]:
    """Names that inner graphs read: they may name outer constants."""
    names: set[str] = set()
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names |= {name for item in inner.node for name in item.input} | _inner_names(inner)
                names |= {value.name for value in inner.output}
    return names
