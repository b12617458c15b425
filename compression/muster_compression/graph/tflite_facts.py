"""Parameters, MACs, precision, sparsity and operators of a TFLite file, read with LiteRT's own schema."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from muster_compression.graph.facts import GraphFacts, precision_of
from muster_compression.graph.tflite_file import load_tflite

_PRECISIONS = {
    "FLOAT32": ("fp32", 4),
    "FLOAT64": ("fp64", 8),
    "FLOAT16": ("fp16", 2),
    "INT8": ("int8", 1),
    "UINT8": ("int8", 1),
    "INT4": ("int4", 0.5),
}
_SMALLEST_WEIGHT = 2  # dimensions; biases and scales have fewer


def tflite_facts(path: Path) -> GraphFacts:
    """Facts of a checked file.

    Raises:
        MissingExtraError: LiteRT, whose schema reads the file, is not installed.
    """
    schema, model = load_tflite(path)
    constants = _constants(schema, model)
    weights = _weights(constants)
    by_dtype = _by_dtype(weights)
    biases = [item for item in constants if item[1] in ("FLOAT32", "FLOAT16", "INT32") and _is_bias(item[0])]
    return GraphFacts(
        precision=precision_of(by_dtype),
        params=sum(by_dtype.values()) + _bias_count(model, biases),
        macs=_count_macs(model, schema),
        sparsity=_sparsity(weights),
        operators=dict(sorted(_operators(model, schema).items())),
    )


def tflite_weights(path: Path) -> dict[str, int]:
    """How many weights (constants of two or more dimensions) have each precision: {"int8": 21440, "fp32": 96}.

    Raises:
        MissingExtraError: LiteRT, whose schema reads the file, is not installed.
    """
    return dict(_by_dtype(_weights(_constants(*load_tflite(path)))))


_Constant: TypeAlias = tuple[Any, str, Any]  # tensor, name of its type, its bytes


def _constants(schema: Any, model: Any) -> list[_Constant]:
    types = _names(schema.TensorType)
    return [
        (tensor, types[tensor.type], model.buffers[tensor.buffer].data)
        for graph in model.subgraphs
        for tensor in graph.tensors
        if model.buffers[tensor.buffer].data is not None
    ]


def _weights(constants: list[_Constant]) -> list[_Constant]:
    return [item for item in constants if item[1] in _PRECISIONS and len(_shape(item[0])) >= _SMALLEST_WEIGHT]


def _by_dtype(weights: list[_Constant]) -> Counter[str]:
    found: Counter[str] = Counter()
    for tensor, kind, _ in weights:
        found[_PRECISIONS[kind][0]] += math.prod(_shape(tensor))
    return found


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _is_bias(tensor: Any) -> bool:
    return len(_shape(tensor)) == 1


def _bias_count(model: Any, biases: list[_Constant]) -> int:
    """Only 1-D constants that some operator takes as its third input are biases; shapes and axes are not."""
    own = {id(tensor) for tensor, _, _ in biases}
    found: dict[int, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            inputs = [] if operator.inputs is None else [int(index) for index in operator.inputs]
            if len(inputs) >= 3 and inputs[2] >= 0 and id(graph.tensors[inputs[2]]) in own:
                found[id(graph.tensors[inputs[2]])] = math.prod(_shape(graph.tensors[inputs[2]]))
    return sum(found.values())


def _operators(model: Any, schema: Any) -> Counter[str]:
    names = _names(schema.BuiltinOperator)
    codes = [_code(item, names) for item in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators)


def _code(item: Any, names: dict[int, str]) -> str:
    """Old files keep the code in a byte of its own; the larger of the two is the code."""
    number = max(int(item.builtinCode), int(item.deprecatedBuiltinCode))
    name = names.get(number, str(number))
    return item.customCode.decode(errors="replace") if name == "CUSTOM" and item.customCode else name


def _sparsity(weights: list[_Constant]) -> float | None:
    """Zeros are those of the stored values minus the zero point, which is 0 for every kernel that XNNPACK takes."""
    total = zeros = 0
    dtypes = {"FLOAT32": np.float32, "FLOAT64": np.float64, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8}
    for tensor, kind, data in weights:
        dtype = dtypes.get(kind)
        if dtype is None:
            continue
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype)
        zero = _zero_point(tensor)
        total += values.size
        zeros += int(np.count_nonzero(values == zero))
    return zeros / total if total else None


def _zero_point(tensor: Any) -> int:
    quantization = tensor.quantization
    if quantization is None or quantization.zeroPoint is None or len(quantization.zeroPoint) != 1:
        return 0
    return int(quantization.zeroPoint[0])


@dataclass(frozen=True, slots=True)
class TfliteOperator:
    """One operator of the main graph."""

    output: str  # name of its first output tensor
    kind: str
    weight_shape: tuple[int, ...]  # of the constant that it reads second; (0,) without one
    macs: int | None  # None where shapes are unknown; 0 for operators that are not counted


def tflite_operators(path: Path) -> list[TfliteOperator]:
    """Those of the main graph, in their order.

    Raises:
        MissingExtraError: LiteRT, whose schema reads the file, is not installed.
    """
    schema, model = load_tflite(path)
    graph = model.subgraphs[0]
    found = []
    for kind, operator in _kinds(model, schema):
        inputs = [] if operator.inputs is None else [int(index) for index in operator.inputs]
        second = graph.tensors[inputs[1]] if len(inputs) > 1 and inputs[1] >= 0 else None
        is_constant = second is not None and model.buffers[second.buffer].data is not None
        if operator.outputs is None or not len(operator.outputs):
            continue
        name = graph.tensors[int(operator.outputs[0])].name
        found.append(
            TfliteOperator(
                name.decode() if isinstance(name, bytes) else str(name),
                kind,
                _shape(second) if is_constant else (0,),
                _operator_macs(graph, operator, kind),
            )
        )
    return found


def _kinds(model: Any, schema: Any) -> list[tuple[str, Any]]:
    """Kind and operator of the main graph."""
    names = _names(schema.BuiltinOperator)
    codes = [_code(item, names) for item in model.operatorCodes]
    return [(codes[operator.opcodeIndex], operator) for operator in model.subgraphs[0].operators]


def _count_macs(model: Any, schema: Any) -> int | None:
    """Of all convolutions and products; None when a shape is unknown."""
    counted = [_operator_macs(model.subgraphs[0], operator, kind) for kind, operator in _kinds(model, schema)]
    return None if None in counted else sum(macs for macs in counted if macs is not None)


def _operator_macs(graph: Any, operator: Any, kind: str) -> int | None:
    """Convolutions (OHWI kernels), depthwise ones and products with weights or activations; None without shapes."""
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"):
        return 0
    left, right = (_shape(graph.tensors[int(index)]) for index in operator.inputs[:2])
    output = _shape(graph.tensors[int(operator.outputs[0])])
    if not output or not right:
        return None
    match kind:
        case "CONV_2D":
            per_output = math.prod(right[1:])
        case "DEPTHWISE_CONV_2D":
            per_output = math.prod(right[1:3])
        case "FULLY_CONNECTED":
            per_output = right[-1]
        case _:
            per_output = left[-1]
    return math.prod(output) * per_output
