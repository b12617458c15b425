"""Bring an ONNX graph into a form that depends only on what it computes."""

from __future__ import annotations

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
    """Write with stripped metadata and deterministic bytes."""
    strip(model)
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
