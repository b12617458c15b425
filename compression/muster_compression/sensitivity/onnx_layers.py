"""What of an ONNX model can be quantized, or left in float, by itself."""

from __future__ import annotations

from muster_compression.graph.onnx_facts import operator_macs
from muster_compression.graph.onnx_qdq import QdqQuantizer
from muster_compression.graph.onnx_weights import CONVOLUTIONS, PRODUCTS, weighted_operators
from muster_compression.sensitivity.layer import ALL_AROUND, Unit

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
