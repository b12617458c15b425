"""What a manifest says of a file's graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster_protos.model import Format


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Read from the file itself. None = cannot be told from it."""

    precision: str  # "fp32", "fp16", "int8", "int4", "mixed", by the share of the weights
    params: int | None
    macs: int | None  # multiply-accumulates of convolutions and matrix products for one inference
    sparsity: float | None  # share of zero weights
    opset: int | None = None
    operators: Mapping[str, int] = field(default_factory=dict)


def graph_facts(path: Path, format: Format) -> GraphFacts:  # noqa: A002
    """Read the facts of a checked file."""
    match format:
        case Format.ONNX:
            from muster_compression.graph.onnx_facts import onnx_facts

            return onnx_facts(path)
        case Format.TFLITE:
            from muster_compression.graph.tflite_facts import tflite_facts

            return tflite_facts(path)
        case Format.UNSPECIFIED:
            return GraphFacts("", None, None, None)


_DOMINANT_SHARE = 0.9


def precision_of(elements_by_dtype: Mapping[str, int]) -> str:
    """The name of the dtype that holds 90 % of the weights, else "mixed"; "" without weights."""
    total = sum(elements_by_dtype.values())
    if total == 0:
        return ""
    name, most = max(elements_by_dtype.items(), key=lambda item: item[1])
    return name if most >= _DOMINANT_SHARE * total else "mixed"
