"""The weighted operators of an ONNX graph: which there are, and how many weights each has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

CONVOLUTIONS = frozenset(("Conv", "ConvTranspose"))
PRODUCTS = frozenset(("Gemm", "MatMul", "Attention"))
_OTHERS = frozenset(("LSTM", "GRU", "RNN", "Gather"))
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_LEAST_RANK = 2  # biases have fewer dimensions


@dataclass(frozen=True, slots=True)
class WeightedOperator:
    """An operator with constant float weights."""

    name: str
    kind: str
    params: int  # without the bias


def weighted_operators(model: onnx.ModelProto) -> list[WeightedOperator]:
    """In the order of the graph; a constant that two operators read counts for the first."""
    sizes = {
        tensor.name: math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in _FLOATS and len(tensor.dims) >= _LEAST_RANK
    }
    found, counted = [], set[str]()
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS | PRODUCTS | _OTHERS:
            continue
        own = [name for name in node.input if name in sizes and name not in counted]
        if own:
            counted.update(own)
            found.append(WeightedOperator(node.name, node.op_type, sum(sizes[name] for name in own)))
    return found


def packed_weights(node: onnx.NodeProto) -> tuple[int, int] | None:
    """(weights, bits) of a MatMulNBits operator, whose constant does not show them; None for any other."""
    if node.op_type != "MatMulNBits":
        return None
    settings: Mapping[str, int] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return settings["K"] * settings["N"], settings.get("bits", 4)
