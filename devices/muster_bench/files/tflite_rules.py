"""What an honest TFLite file never does. LiteRT trusts the indices in a file; a wrong one is a wild read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from muster_bench.errors import HostileArtifactError
from muster_bench.files.onnx_rules import MAX_ELEMENTS, MAX_RANK, check_names
from muster_bench.files.precision import dominant
from muster_bench.files.tflite_reader import TfliteGraph, TfliteModel, TfliteTensor

_SCHEMA_VERSION = 3
# TensorType of the schema: (precision, bits per value); the others are no weights, or of no fixed size.
_WEIGHTS = {
    0: ("fp32", 32),
    1: ("fp16", 16),
    3: ("int8", 8),
    7: ("int16", 16),
    9: ("int8", 8),
    10: ("fp64", 64),
    17: ("int4", 4),
    18: ("bf16", 16),
    19: ("int2", 2),
}
_OTHER_BITS = {2: 32, 4: 64, 6: 8, 12: 64, 15: 32, 16: 16}


def check_tflite(model: TfliteModel) -> None:
    """Raise unless every index, dimension and buffer size holds together.

    Raises:
        HostileArtifactError: it does not; the message says where.
    """
    if model.version != _SCHEMA_VERSION:
        raise HostileArtifactError(f"expected TFLite schema version {_SCHEMA_VERSION}, found {model.version}")
    if not model.graphs:
        raise HostileArtifactError("a TFLite file without a graph")
    for graph in model.graphs:
        _check_graph(graph, model)
    if not model.graphs[0].inputs:
        raise HostileArtifactError("the model has no inputs")
    if not model.graphs[0].outputs:
        raise HostileArtifactError("the model has no outputs")
    face = model.graphs[0]
    check_names("inputs", [face.tensors[i].name or f"tensor {i}" for i in face.inputs])
    check_names("outputs", [face.tensors[i].name or f"tensor {i}" for i in face.outputs])


def tflite_precision(model: TfliteModel) -> str:
    """The format that at least 80 % of the weight values have, else "mixed"; without weights that of the inputs."""
    counts: Counter[str] = Counter()
    inputs: Counter[str] = Counter()
    for graph in model.graphs:
        for tensor in graph.tensors:
            if tensor.type in _WEIGHTS and 0 < tensor.buffer < len(model.buffer_bytes):
                name, bits = _WEIGHTS[tensor.type]
                counts[name] += model.buffer_bytes[tensor.buffer] * 8 // bits
        inputs.update(_WEIGHTS[graph.tensors[i].type][0] for i in graph.inputs if graph.tensors[i].type in _WEIGHTS)
    return dominant(+counts or inputs)


def _check_graph(graph: TfliteGraph, model: TfliteModel) -> None:
    for tensor in graph.tensors:
        _check_tensor(tensor, model)
    _check_indices(graph.inputs, graph, "an input", is_optional=False)
    _check_indices(graph.outputs, graph, "an output", is_optional=False)
    produced: set[int] = set()
    for operator in graph.operators:
        if operator.code >= model.operator_codes:
            raise HostileArtifactError(f"an operator has the code {operator.code} of {model.operator_codes}")
        _check_indices(operator.inputs, graph, "an operator's input", is_optional=True)
        _check_indices(operator.outputs, graph, "an operator's output", is_optional=True)
        for index in operator.outputs:
            if index >= 0 and index in produced:
                raise HostileArtifactError(f"two operators produce the same tensor {graph.tensors[index].name!r}")
            produced.add(index)
        if set(operator.inputs) & set(operator.outputs) - {-1}:
            raise HostileArtifactError("an operator takes its own output: a cycle")
    _check_order(graph, produced)


def _check_order(graph: TfliteGraph, produced: set[int]) -> None:
    """Operators run in file order, so one that reads what a later one writes is part of a cycle."""
    done: set[int] = set()
    for operator in graph.operators:
        early = [i for i in operator.inputs if i >= 0 and i in produced and i not in done and i not in graph.inputs]
        if early:
            raise HostileArtifactError(f"an operator uses {graph.tensors[early[0]].name!r} before it exists: a cycle")
        done.update(operator.outputs)


def _check_indices(indices: Iterable[int], graph: TfliteGraph, what: str, *, is_optional: bool) -> None:
    least = -1 if is_optional else 0
    for index in indices:
        if not least <= index < len(graph.tensors):
            raise HostileArtifactError(f"{what} is the tensor {index} of {len(graph.tensors)}")


def _check_tensor(tensor: TfliteTensor, model: TfliteModel) -> None:
    if max(len(tensor.shape), len(tensor.shape_signature)) > MAX_RANK:
        raise HostileArtifactError(f"{tensor.name!r} is declared with more than {MAX_RANK} dimensions")
    if any(size < 0 for size in tensor.shape):
        raise HostileArtifactError(f"{tensor.name!r} is declared with a negative dimension: {list(tensor.shape)}")
    values = math.prod(tensor.shape)
    if values > MAX_ELEMENTS:
        raise HostileArtifactError(f"{tensor.name!r} is declared with {values} values, more than {MAX_ELEMENTS}")
    if tensor.buffer >= max(1, len(model.buffer_bytes)):
        raise HostileArtifactError(f"{tensor.name!r} has the buffer {tensor.buffer} of {len(model.buffer_bytes)}")
    stored = model.buffer_bytes[tensor.buffer] if tensor.buffer else 0
    bits = _WEIGHTS[tensor.type][1] if tensor.type in _WEIGHTS else _OTHER_BITS.get(tensor.type)
    if stored and bits is not None and not tensor.is_sparse and stored * 8 < values * bits:
        raise HostileArtifactError(f"{tensor.name!r} says {values} values of {bits} bits and holds {stored} bytes")
