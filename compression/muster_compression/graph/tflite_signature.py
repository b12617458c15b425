"""TFLite files made before signatures existed have none; the quantizer needs one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muster_compression.artifact import write_bytes
from muster_compression.graph.tflite_file import load_tflite, packed

KEY = "serving_default"


def with_signature(path: Path, out_path: Path) -> tuple[Path, str]:
    """``path`` and its signature's key; without one, a copy at ``out_path`` that has the graph's own tensors in it."""
    schema, model = load_tflite(path)
    if model.signatureDefs:
        key = model.signatureDefs[0].signatureKey
        return path, key.decode() if isinstance(key, bytes) else str(key)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = KEY.encode(), 0
    signature.inputs = [_named(schema, graph, index) for index in graph.inputs]
    signature.outputs = [_named(schema, graph, index) for index in graph.outputs]
    model.signatureDefs = [signature]
    return write_bytes(out_path, packed(model)), KEY


def _named(schema: Any, graph: Any, index: Any) -> Any:
    item = schema.TensorMapT()
    item.tensorIndex = int(index)
    item.name = graph.tensors[int(index)].name
    return item
