"""What a quantizing pass demands of an ONNX graph: float weights, and an opset that can express the result."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import onnx
from onnx import TensorProto

from muster_compression.graph.onnx_clean import load_onnx
from muster_compression.passes.port import PassError, WorkingModel

_OLDEST_OPSET = 13  # per-channel QuantizeLinear
_QUANTIZED = frozenset(
    (
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulInteger",
        "MatMulNBits",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    )
)


def load_float(model: WorkingModel, pass_name: str) -> onnx.ModelProto:
    """The graph, every operator of it with a name of its own.

    Raises:
        PassError: it is quantized already, its opset is too old, or it has no float32 weights.
    """
    graph = load_onnx(model.path)
    opset = next((item.version for item in graph.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise PassError(
            f"{pass_name} expected opset {_OLDEST_OPSET} or later (per-channel quantization), found {opset}; "
            "put onnx-prepare before it, which upgrades the model, or export it again"
        )
    found = sorted({node.op_type for node in graph.graph.node} & _QUANTIZED)
    if found:
        raise PassError(f"{pass_name} expected a float model, found one that is quantized already ({', '.join(found)})")
    if not any(tensor.data_type == TensorProto.FLOAT and tensor.dims for tensor in graph.graph.initializer):
        raise PassError(f"{pass_name} expected float32 weights, found none")
    name_operators(graph.graph)
    return graph


def name_operators(graph: onnx.GraphProto) -> None:
    """Give each operator a name that no other has: quantizers and settings address operators by it."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def check_names(graph: onnx.ModelProto, names: Iterable[str], pass_name: str) -> None:
    """Operators that a setting names must exist: the libraries ignore names that do not.

    Raises:
        PassError: one does not; those near it are named.
    """
    known = [node.name for node in graph.graph.node]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.3)
            raise PassError(f"{pass_name}: no operator is named {name!r}; near it are {', '.join(near) or 'none'}")
