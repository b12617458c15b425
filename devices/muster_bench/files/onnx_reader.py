"""The parts of an ONNX file that its safety depends on. Field numbers: onnx/onnx.proto of ONNX 1.17 (IR version 10)."""

from __future__ import annotations

from dataclasses import dataclass, field

from muster_bench.errors import HostileArtifactError
from muster_bench.files.protobuf_wire import integers, signed, text, view, walk

_MAX_DEPTH = 16
_EXTERNAL = 1  # TensorProto.DataLocation


@dataclass(slots=True)
class Tensor:
    """A weight: name, type and dimensions, not its values."""

    name: str = ""
    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    external_location: str | None = None
    stored_bytes: int = 0


@dataclass(slots=True)
class Value:
    """A declared input, output or intermediate: -1 = free dimension; dims None = no shape declared."""

    name: str = ""
    kind: str = ""  # "tensor", "sequence", "map", "optional", "sparse"
    data_type: int = 0
    dims: list[int] | None = None
    dim_names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Node:
    """One operator with its subgraphs and the tensors in its attributes."""

    op_type: str = ""
    domain: str = ""
    overload: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    graphs: list[Graph] = field(default_factory=list)
    integers: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """A graph or the body of a model-local function."""

    nodes: list[Node] = field(default_factory=list)
    initializers: list[Tensor] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    value_infos: list[Value] = field(default_factory=list)


FunctionName = tuple[str, str, str]
"""(domain, name, overload) of a model-local function, as a node names it."""


@dataclass(slots=True)
class Model:
    """A whole file."""

    ir_version: int = 0
    graph: Graph | None = None
    opsets: dict[str, int] = field(default_factory=dict)
    functions: dict[FunctionName, Graph] = field(default_factory=dict)


def read_onnx(content: memoryview) -> Model:
    """Parse ``content``.

    Raises:
        HostileArtifactError: it is no ONNX model, is cut off, nests deeper than 16 levels, or has two graphs or two
            functions of one name, which runtimes put together or choose among.
    """
    model = Model()
    for number, _, value in walk(content):
        if number == 1 and isinstance(value, int):
            model.ir_version = value
        elif number == 7:
            if model.graph is not None:
                raise HostileArtifactError("malformed: the file holds more than one graph")
            model.graph = _graph(view(value), 0)
        elif number == 8:
            domain, version = _opset(view(value))
            model.opsets[domain] = version
        elif number == 25:
            name, body = _function(view(value))
            if name in model.functions:
                raise HostileArtifactError(f"malformed: the file holds more than one function {name[1]!r}")
            model.functions[name] = body
    return model


def _graph(message: memoryview, depth: int) -> Graph:
    if depth > _MAX_DEPTH:
        raise HostileArtifactError(f"subgraphs nest deeper than {_MAX_DEPTH} levels")
    graph = Graph()
    for number, _, value in walk(message):
        if number == 1:
            graph.nodes.append(_node(view(value), depth))
        elif number == 5:
            graph.initializers.append(_tensor(view(value)))
        elif number == 11:
            graph.inputs.append(_value(view(value)))
        elif number == 12:
            graph.outputs.append(_value(view(value)))
        elif number == 13:
            graph.value_infos.append(_value(view(value)))
        elif number == 15:
            graph.initializers.extend(_sparse(view(value)))
    return graph


def _node(message: memoryview, depth: int) -> Node:
    node = Node()
    for number, _, value in walk(message):
        if number == 1:
            node.inputs.append(text(value))
        elif number == 2:
            node.outputs.append(text(value))
        elif number == 4:
            node.op_type = text(value)
        elif number == 5:
            _attribute(view(value), node, depth)
        elif number == 7:
            node.domain = text(value)
        elif number == 8:
            node.overload = text(value)
    return node


def _attribute(message: memoryview, node: Node, depth: int) -> None:
    name = ""
    number_value: int | None = None
    for number, _, value in walk(message):
        if number == 1:
            name = text(value)
        elif number == 3 and isinstance(value, int):
            number_value = signed(value)
        elif number in (5, 10):
            node.tensors.append(_tensor(view(value)))
        elif number in (6, 11):
            node.graphs.append(_graph(view(value), depth + 1))
        elif number in (22, 23):
            node.tensors.extend(_sparse(view(value)))
    if number_value is not None:
        node.integers[name] = number_value


def _tensor(message: memoryview) -> Tensor:
    tensor = Tensor()
    for number, _, value in walk(message):
        if number == 1:
            tensor.dims.extend(integers(value))
        elif number == 2 and isinstance(value, int):
            tensor.data_type = value
        elif number == 8:
            tensor.name = text(value)
        elif number == 13:
            tensor.external_location = _location(view(value)) or tensor.external_location or ""
        elif number == 14 and value == _EXTERNAL and tensor.external_location is None:
            tensor.external_location = ""
        elif number in (4, 5, 6, 7, 9, 10, 11):
            tensor.stored_bytes += 1 if isinstance(value, int) else len(value)
    return tensor


def _location(message: memoryview) -> str:
    """The value of an external_data entry whose key is "location"; "" for other keys."""
    entry = {number: text(value) for number, _, value in walk(message) if number in (1, 2)}
    return entry.get(2, "") if entry.get(1) == "location" else ""


def _sparse(message: memoryview) -> list[Tensor]:
    return [_tensor(view(value)) for number, _, value in walk(message) if number in (1, 2)]


def _value(message: memoryview) -> Value:
    declared = Value()
    for number, _, value in walk(message):
        if number == 1:
            declared.name = text(value)
        elif number == 2:
            _type(view(value), declared)
    return declared


def _type(message: memoryview, declared: Value) -> None:
    kinds = {1: "tensor", 4: "sequence", 5: "map", 8: "sparse", 9: "optional"}
    for number, _, value in walk(message):
        if number not in kinds:
            continue
        declared.kind = kinds[number]
        if number != 1:
            continue
        for part, _, content in walk(view(value)):
            if part == 1 and isinstance(content, int):
                declared.data_type = content
            elif part == 2:
                dims = [_dimension(view(dim)) for item, _, dim in walk(view(content)) if item == 1]
                declared.dims = [size for size, _ in dims]
                declared.dim_names = [name for _, name in dims]


def _dimension(message: memoryview) -> tuple[int, str]:
    """(size, name): -1 and a name for a free one; a negative size that the file states is a lie and raises."""
    size, name = -1, ""
    for number, _, value in walk(message):
        if number == 1 and isinstance(value, int):
            size = signed(value)
            if size < 0:
                raise HostileArtifactError(f"a tensor is declared with the dimension {size}")
        elif number == 2:
            name = text(value)
    return size, name


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, _, value in walk(message):
        if number == 1:
            domain = text(value)
        elif number == 2 and isinstance(value, int):
            version = signed(value)
    return domain, version


def _function(message: memoryview) -> tuple[FunctionName, Graph]:
    name = domain = overload = ""
    body = Graph()
    defaults = Node()  # of attributes, which may hold tensors and graphs too
    for number, _, value in walk(message):
        if number == 1:
            name = text(value)
        elif number == 10:
            domain = text(value)
        elif number == 13:
            overload = text(value)
        elif number == 7:
            body.nodes.append(_node(view(value), 1))
        elif number == 4:
            body.inputs.append(Value(text(value)))
        elif number == 5:
            body.outputs.append(Value(text(value)))
        elif number == 11:
            _attribute(view(value), defaults, 1)
    if defaults.tensors or defaults.graphs:
        body.nodes.append(defaults)
    return (domain, name, overload), body
