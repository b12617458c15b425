"""Whether an ONNX file keeps weights in 8 bits and computes in floats: read from its operators, without the library."""

from __future__ import annotations

from muster_bench.errors import HostileArtifactError
from muster_bench.files.onnx_reader import Model, Node, read_onnx
from muster_bench.files.onnx_rules import all_nodes

_UNPACK = "DequantizeLinear"
_EIGHT_BITS = frozenset((2, 3))  # TensorProto.DataType of onnx.proto: uint8, int8
_BLOCKS = "block_size"  # runtimes have products of their own for weights in blocks, which unpacking would lose


def are_weights_packed(content: bytes) -> bool:
    """Whether every DequantizeLinear reads a constant of 8 bits and nothing computes in integers.

    False, too, for a model without any, and for bytes that are no ONNX model: whoever loads them says what is wrong.
    """
    if _UNPACK.encode() not in content:  # most models: no parsing at all
        return False
    try:
        model = read_onnx(memoryview(content))
    except HostileArtifactError:
        return False
    nodes = list(all_nodes(model))
    unpacking = [node for node in nodes if node.op_type == _UNPACK]
    constants = _constants(model)
    return (
        bool(unpacking)
        and all(_BLOCKS not in node.integers and set(node.inputs[:1]) & constants for node in unpacking)
        and not any(_computes_in_integers(node) for node in nodes)
    )


def _constants(model: Model) -> set[str]:
    """Names of the 8-bit ones; what is an input as well can be replaced by the caller, so it is none."""
    if model.graph is None:
        return set()
    stored = {tensor.name for tensor in model.graph.initializers if tensor.data_type in _EIGHT_BITS}
    return stored - {value.name for value in model.graph.inputs}


def _computes_in_integers(node: Node) -> bool:
    """QuantizeLinear, DynamicQuantize..., ...Integer..., QLinear... and ONNX Runtime's own that begin with Q."""
    kind = node.op_type
    return kind.startswith("Q") or "Quantize" in kind or "Integer" in kind
