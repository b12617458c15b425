"""The first convolutions of a TFLite graph: those that read the picture itself."""

from __future__ import annotations

from pathlib import Path

from muster_compression.graph.onnx_stem import FEW_CHANNELS
from muster_compression.graph.tflite_file import load_tflite

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_OTHERS = ("TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


def tflite_stem(path: Path) -> tuple[str, ...]:
    """Names of the outputs of the convolutions of fewer than 8 input channels that no weighted operator comes before.

    Raises:
        MissingExtraError: LiteRT, whose schema reads the file, is not installed.
    """
    schema, model = load_tflite(path)
    graph = model.subgraphs[0]
    convolutions = {getattr(schema.BuiltinOperator, name) for name in _CONVOLUTIONS}
    weighted = {getattr(schema.BuiltinOperator, name) for name in _OTHERS} | convolutions
    raw = {int(index) for index in graph.inputs}
    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
        inputs = [] if operator.inputs is None else [int(index) for index in operator.inputs]
        outputs = [int(index) for index in operator.outputs]
        if kind in weighted:
            first = graph.tensors[inputs[0]]
            if kind in convolutions and inputs[0] in raw and int(first.shape[-1]) < FEW_CHANNELS:
                name = graph.tensors[outputs[0]].name
                found.append(name.decode() if isinstance(name, bytes) else str(name))
        elif raw.intersection(inputs):
            raw.update(outputs)
    return tuple(found)
