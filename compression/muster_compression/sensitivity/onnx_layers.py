"""Sensitivity of the operators of an ONNX model to 8-bit quantization: each alone, or each alone spared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import onnx

from muster_compression.graph.onnx_facts import operator_macs
from muster_compression.graph.onnx_qdq import QdqQuantizer
from muster_compression.graph.onnx_weights import CONVOLUTIONS, PRODUCTS, weighted_operators
from muster_compression.sensitivity.closeness import Closeness
from muster_compression.sensitivity.layer import ALL_AROUND, LayerSensitivity, Unit, sensitivity_of

Way = Literal["alone", "spared"]
"""alone: only this operator is quantized. spared: all but this one are (small SQNR: sparing it helps little)."""

_PRODUCTS = CONVOLUTIONS | PRODUCTS
_AROUND = frozenset(
    (
        *("Add", "Mul", "Sub", "Div", "Sigmoid", "Softmax", "Where", "Concat"),
        *("AveragePool", "GlobalAveragePool", "LayerNormalization", "InstanceNormalization", "BatchNormalization"),
    )
)


def quantizable_units(quantizer: QdqQuantizer) -> list[Unit]:
    """What can be left in float: each convolution and product, and the other operators kind by kind, and all of those.

    One addition or normalisation alone brings nothing: its neighbours quantize the tensors that it reads and makes.
    """
    weights = {item.name: item.params for item in weighted_operators(quantizer.model)}
    macs = operator_macs(quantizer.model)
    nodes = [node for node in quantizer.model.graph.node if quantizer.is_quantizable(node)]
    single = [
        Unit(node.name, node.op_type, weights.get(node.name, 0), macs.get(node.name, 0), (node.name,))
        for node in nodes
        if node.op_type in _PRODUCTS
    ]
    around = [node for node in nodes if node.op_type in _AROUND]
    kinds = sorted({node.op_type for node in around})
    grouped = [
        Unit(f"every {kind}", kind, 0, 0, tuple(node.name for node in around if node.op_type == kind)) for kind in kinds
    ]
    if len(kinds) > 1:
        grouped.append(Unit(ALL_AROUND, "several", 0, 0, tuple(node.name for node in around)))
    return [*single, *grouped]


def onnx_sensitivity(
    quantizer: QdqQuantizer,
    compare: Callable[[onnx.ModelProto], Closeness],
    units: Sequence[Unit],
    way: Way = "alone",
    on_progress: Callable[[float, str], None] = lambda _ratio, _note: None,
) -> tuple[LayerSensitivity, ...]:
    """How close the model stays for each unit, in the order given; ``compare`` runs a quantized copy."""

    def measure(unit: Unit) -> Closeness:
        if way == "alone":
            return compare(quantizer.quantized(only=unit.operators))
        return compare(quantizer.quantized(excluded=unit.operators))

    return sensitivity_of(units, measure, on_progress)
