"""What an honest ONNX file never does. Loading is not validation: the onnx library takes cycles, lies and 2^40."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from muster_bench.errors import HostileArtifactError, NotExecutableError
from muster_bench.files.onnx_reader import FunctionName, Graph, Model, Node, Tensor, Value

MAX_ELEMENTS = 1 << 31  # of one declared tensor
MAX_RANK = 32
MAX_FACE_TENSORS = 1024  # inputs or outputs; each one is described in every manifest
MAX_NAME_CHARACTERS = 1024
_MAX_EXPANDED_NODES = 1 << 20  # with every model-local function written out, as the runtime does
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
    _check_order(model.graph, ())
    for body in model.functions.values():
        _check_order(body, ())
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
    if len(dims) > MAX_RANK:
        raise HostileArtifactError(f"{name!r} is declared with {len(dims)} dimensions, more than {MAX_RANK}")
    if any(size < 0 for size in dims):
        raise HostileArtifactError(f"{name!r} is declared with a negative dimension: {dims}")
    if math.prod(dims) > MAX_ELEMENTS:
        raise HostileArtifactError(f"{name!r} is declared with {math.prod(dims)} values, more than {MAX_ELEMENTS}")


def _check_domain(node: Node, model: Model) -> None:
    if node.op_type == "EPContext":
        raise HostileArtifactError("operator EPContext is compiled code of one accelerator, or names a file of it")
    if node.domain in _DOMAINS or (node.domain, node.op_type, node.overload) in model.functions:
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
    check_names("inputs", [value.name for value in graph.inputs])
    check_names("outputs", [value.name for value in graph.outputs])
    for named in (graph.inputs, graph.outputs):
        if len({value.name for value in named}) < len(named):
            raise HostileArtifactError("two inputs or two outputs have the same name")
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


def check_names(what: str, names: Sequence[str]) -> None:
    """Inputs and outputs are few, and each has a name that can be shown.

    Raises:
        HostileArtifactError: they are not.
    """
    if len(names) > MAX_FACE_TENSORS:
        raise HostileArtifactError(f"the model has {len(names)} {what}, more than {MAX_FACE_TENSORS}")
    for name in names:
        if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise HostileArtifactError(f"among the {what} is the name {name[:80]!r}, which cannot be shown")


def _check_value(value: Value) -> None:
    _check_dims(value.name, [size for size in value.dims or [] if size != -1])


def _check_order(graph: Graph, outer: tuple[set[str], ...]) -> None:
    """Values are produced once, and before they are used: so there are no cycles (nodes are stored sorted).

    ``outer``: what is known around the graph, one set per level; never copied, or many subgraphs would take for ever.
    """
    own = {value.name for value in graph.inputs} | {tensor.name for tensor in graph.initializers}
    scopes = (own, *outer)
    later = {name for node in graph.nodes for name in node.outputs if name}
    for node in graph.nodes:
        for name in node.inputs:
            if name and not any(name in scope for scope in scopes):
                why = "a cycle, or nodes out of order" if name in later else "nothing produces it"
                raise HostileArtifactError(f"operator {node.op_type} uses {name!r} before it exists: {why}")
        for body in node.graphs:
            _check_order(body, scopes)
        for name in node.outputs:
            if name and name in own:
                raise HostileArtifactError(f"two operators produce the same value {name!r}")
            if name:
                own.add(name)
    for value in graph.outputs:
        if not any(value.name in scope for scope in scopes):
            raise HostileArtifactError(f"nothing produces the output {value.name!r}")


def _check_recursion(model: Model) -> None:
    """Model-local functions may call each other, but not themselves, and not so that the whole explodes.

    Each body is read once and sized when all that it calls is (Kahn, 1962): a chain of thousands takes no longer.
    """
    contents = {name: _content(body, model.functions) for name, body in model.functions.items()}
    callers: dict[FunctionName, list[FunctionName]] = {name: [] for name in contents}
    for name, (_, calls) in contents.items():
        for called in calls:
            callers[called].append(name)
    missing = {name: len(calls) for name, (_, calls) in contents.items()}
    ready = [name for name, number in missing.items() if number == 0]
    sizes: dict[FunctionName, int] = {}
    while ready:
        name = ready.pop()
        sizes[name] = _expanded(contents[name], sizes)
        for caller in callers[name]:
            missing[caller] -= 1
            if missing[caller] == 0:
                ready.append(caller)
    for name in contents:
        if name not in sizes:
            raise HostileArtifactError(f"function {name[1]!r} calls itself")
    assert model.graph is not None
    _expanded(_content(model.graph, model.functions), sizes)


def _content(body: Graph, functions: Mapping[FunctionName, Graph]) -> tuple[int, Counter[FunctionName]]:
    """(operators, calls of functions) in it and its subgraphs."""
    names = Counter((node.domain, node.op_type, node.overload) for node in all_nodes(Model(graph=body)))
    calls = Counter({name: number for name, number in names.items() if name in functions})
    return names.total() - calls.total(), calls


def _expanded(content: tuple[int, Counter[FunctionName]], sizes: Mapping[FunctionName, int]) -> int:
    """How many operators it has with its functions written out.

    Raises:
        HostileArtifactError: too many.
    """
    operators, calls = content
    total = operators + sum(number * sizes[name] for name, number in calls.items())
    if total > _MAX_EXPANDED_NODES:
        raise HostileArtifactError(f"with its functions written out it has more than {_MAX_EXPANDED_NODES} operators")
    return total
