"""Which number format a model's weights have: read from the tensors, never from a name."""

from __future__ import annotations

import math
from collections import Counter

from muster_bench.files.onnx_reader import Model
from muster_bench.files.onnx_rules import all_nodes, all_tensors

_DOMINATES = 0.8
# TensorProto.DataType of onnx.proto. int32 and int64 are biases, shapes and indices, not weights.
_ONNX_WEIGHTS = {
    1: "fp32",
    10: "fp16",
    11: "fp64",
    16: "bf16",
    2: "int8",
    3: "int8",
    4: "int16",
    5: "int16",
    17: "fp8",
    18: "fp8",
    19: "fp8",
    20: "fp8",
    21: "int4",
    22: "int4",
    23: "fp4",
}


def onnx_precision(model: Model) -> str:
    """The format that at least 80 % of the weight values have, else "mixed"; without weights that of the inputs."""
    counts: Counter[str] = Counter()
    packed = _packed_weights(model)
    for tensor in all_tensors(model):
        if tensor.name in packed:
            counts[f"int{packed[tensor.name]}"] += tensor.stored_bytes * 8 // packed[tensor.name]
        elif tensor.data_type in _ONNX_WEIGHTS:
            counts[_ONNX_WEIGHTS[tensor.data_type]] += math.prod(tensor.dims)
    if not counts and model.graph:
        counts.update(
            _ONNX_WEIGHTS[value.data_type] for value in model.graph.inputs if value.data_type in _ONNX_WEIGHTS
        )
    return dominant(counts)


def dominant(counts: Counter[str]) -> str:
    """The kind with at least 80 % of the values; "mixed" when there is none, "" when there are no values."""
    total = sum(counts.values())
    if not total:
        return ""
    kind, most = counts.most_common(1)[0]
    return kind if most >= _DOMINATES * total else "mixed"


def _packed_weights(model: Model) -> dict[str, int]:
    """Initializers that MatMulNBits reads: several weights in each uint8."""
    return {
        node.inputs[1]: node.integers.get("bits", 4)
        for node in all_nodes(model)
        if node.op_type == "MatMulNBits" and len(node.inputs) > 1
    }
