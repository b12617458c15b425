"""What an honest ONNX file never does. Loading is not validation: the onnx library takes cycles, lies and 2^40."""

from __future__ import annotations

import math
from collections.abc import Iterator

from muster_bench.errors import HostileArtifactError, NotExecutableError
from muster_bench.files.onnx_reader import Graph, Model, Node, Tensor, Value

MAX_ELEMENTS = 1 << 31  # of one declared tensor
_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc"))
_STRING = 8


def check_onnx(model: Model) -> None:
    """Raise unless the model stands on its own and its graph is one.

    Raises:
        HostileArtifactError: external data, impossible dimensions, cycles, doubly produced or never produced values,
            operators of foreign domains, no inputs, no outputs.
        NotExecutableError: inputs or outputs that are no tensors of numbers.
    """
    if model.graph is None or not (model.graph.nodes or model.graph.outputs):
        raise HostileArtifactError("an ONNX file without a graph")
    for tensor in all_tensors(model):
        _check_tensor(tensor)
    for node in all_nodes(model):
        _check_domain(node, model)
    _check_face(model.graph)
    _check_order(model.graph, frozenset())
    for body in model.functions.values():
        _check_order(body, frozenset())
    _check_recursion(model)


def all_nodes(model: Model) -> Iterator[Node]:
    """Every node of the graph, its subgraphs and the functions."""
    bodies = [*([model.graph] if model.graph else []), *model.functions.values()]
    while bodies:
        body = bodies.pop()
        for node in body.nodes:
            yield node
            bodies.extend(node.graphs)


def all_tensors(model: Model) -> Iterator[Tensor]:
    """Every stored tensor: initializers and attributes."""
    if model.graph:
        yield from model.graph.initializers
    for node in all_nodes(model):
        yield from node.tensors
        for graph in node.graphs:
            yield from graph.initializers


def _check_tensor(tensor: Tensor) -> None:
    if tensor.external_location is not None:
        raise HostileArtifactError(
            f"weight {tensor.name!r} lies in another file ({tensor.external_location or 'unnamed'!r}); only files that "
            "hold all their data are taken: save it with save_as_external_data=False"
        )
    _check_dims(tensor.name, tensor.dims)
    if tensor.stored_bytes * 8 < math.prod(tensor.dims) and tensor.data_type != _STRING:
        raise HostileArtifactError(
            f"weight {tensor.name!r} says {math.prod(tensor.dims)} values and holds {tensor.stored_bytes} bytes"
        )


def _check_dims(name: str, dims: list[int]) -> None:
    if any(size < 0 for size in dims):
        raise HostileArtifactError(f"{name!r} is declared with a negative dimension: {dims}")
    if math.prod(dims) > MAX_ELEMENTS:
        raise HostileArtifactError(f"{name!r} is declared with {math.prod(dims)} values, more than {MAX_ELEMENTS}")


def _check_domain(node: Node, model: Model) -> None:
    if node.domain in _DOMAINS or (node.domain, node.op_type) in model.functions:
        return
    raise HostileArtifactError(
        f"operator {node.domain}.{node.op_type} needs a library of custom operators; none is ever loaded: export with "
        "standard operators"
    )


def _check_face(graph: Graph) -> None:
    weights = {tensor.name for tensor in graph.initializers}
    inputs = [value for value in graph.inputs if value.name not in weights]
    if not inputs:
        raise HostileArtifactError("the model has no inputs")
    if not graph.outputs:
        raise HostileArtifactError("the model has no outputs")
    for value in (*inputs, *graph.outputs):
        if value.kind not in ("tensor", ""):
            raise NotExecutableError(
                f"{value.name!r} is a {value.kind}; "
                "inputs and outputs must be tensors (export classifiers without ZipMap)"
            )
    for value in inputs:
        if value.dims is None:
            raise HostileArtifactError(f"input {value.name!r} declares no shape; give it one, free dimensions named")
        if 0 in value.dims:
            raise HostileArtifactError(f"input {value.name!r} has a dimension of 0: {value.dims}")
    for value in (*graph.inputs, *graph.outputs, *graph.value_infos):
        _check_value(value)


def _check_value(value: Value) -> None:
    _check_dims(value.name, [size for size in value.dims or [] if size != -1])


def _check_order(graph: Graph, outer: frozenset[str]) -> None:
    """Values are produced once, and before they are used: so there are no cycles (nodes are stored sorted)."""
    produced = [value.name for value in graph.inputs]
    produced += [tensor.name for tensor in graph.initializers if tensor.name not in set(produced)]
    known = set(produced) | outer
    own = set(produced)
    later = {name for node in graph.nodes for name in node.outputs if name}
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in known:
                why = "a cycle, or nodes out of order" if name in later else "nothing produces it"
                raise HostileArtifactError(f"operator {node.op_type} uses {name!r} before it exists: {why}")
        for body in node.graphs:
            _check_order(body, frozenset(known))
        for name in node.outputs:
            if name and name in own:
                raise HostileArtifactError(f"two operators produce the same value {name!r}")
            if name:
                own.add(name)
                known.add(name)
    for value in graph.outputs:
        if value.name not in known:
            raise HostileArtifactError(f"nothing produces the output {value.name!r}")


def _check_recursion(model: Model) -> None:
    """Model-local functions may call each other, but not themselves."""
    calls = {
        name: {(node.domain, node.op_type) for node in all_nodes(Model(graph=body))} & set(model.functions)
        for name, body in model.functions.items()
    }
    while calls:
        leaves = {name for name, called in calls.items() if not called & set(calls)}
        if not leaves:
            raise HostileArtifactError(f"function {next(iter(calls))[1]!r} calls itself")
        calls = {name: called for name, called in calls.items() if name not in leaves}
