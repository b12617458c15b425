"""Bring an ONNX graph into a form that depends only on what it computes."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path

import onnx

from muster_compression.artifact import write_bytes
from muster_protos.errors import InvalidInputError


def load_onnx(path: Path) -> onnx.ModelProto:
    """Parse a file that ``muster_bench.check`` has accepted.

    Raises:
        InvalidInputError: its weights lie in other files.
    """
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise InvalidInputError(
                f"{path.name}: its weights lie in another file; save it as one file "
                "(onnx.save(model, path, save_as_external_data=False))"
            )
    return model


def save_onnx(model: onnx.ModelProto, path: Path) -> Path:
    """Write with stripped metadata, operators in order and deterministic bytes."""
    strip(model)
    sort_operators(model.graph)
    return write_bytes(path, model.SerializeToString(deterministic=True))


def strip(model: onnx.ModelProto) -> None:
    """Remove doc strings and metadata: exporters and quantizers write absolute paths and stack traces into them."""
    model.doc_string = ""
    del model.metadata_props[:]
    _strip_graph(model.graph)
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        _strip_nodes(function.node)


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    graph.name = "graph"
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.doc_string = ""
            if attribute.HasField("g"):
                _strip_graph(attribute.g)
            for graph in attribute.graphs:
                _strip_graph(graph)


def sort_operators(graph: onnx.GraphProto) -> None:
    """Put every operator after those that it reads from, as the standard demands; converters append at the end."""
    makers = {output: index for index, node in enumerate(graph.node) for output in node.output if output}
    waiting = [{makers[name] for name in _read_by(node) if name in makers} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for index, needed in enumerate(waiting):
        for maker in needed:
            readers.setdefault(maker, []).append(index)
    ready = [index for index, needed in enumerate(waiting) if not needed]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            waiting[reader].discard(index)
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) != len(graph.node):
        raise InvalidInputError("expected a graph without cycles, found operators that wait for each other")
    nodes = [graph.node[index] for index in order]
    if order != sorted(order):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Names that an operator reads, those of its inner graphs too (they may name outer tensors)."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _read_by(inner)
            names |= {value.name for value in graph.output}
    return names
