"""float16 weights and arithmetic; inputs and outputs stay float32, so the face is the same."""

from __future__ import annotations

import math
import warnings

import onnx
from onnx import TensorProto

from muster_compression.blame import blaming_the_model
from muster_compression.graph.onnx_clean import load_onnx, save_onnx
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel


class OnnxFp16Settings(Settings):
    """Operators that must stay in float32."""

    keep_float32: tuple[str, ...] = ()


SETTINGS = OnnxFp16Settings


def apply(model: WorkingModel, settings: OnnxFp16Settings, context: PassContext) -> PassOutput:
    """Halve the weights.

    Raises:
        PassError: the graph has no float32 weights, or an operator that has no float16 form.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    graph = load_onnx(model.path)
    before = _floats(graph, TensorProto.FLOAT)
    if before == 0:
        raise PassError("onnx-fp16 expected float32 weights, found none: the model is quantized or has no weights")
    kinds = {node.op_type for node in graph.graph.node}
    for kind in settings.keep_float32:
        if kind not in kinds:  # the library ignores such names
            raise PassError(
                f"onnx-fp16: no operator of the kind {kind!r} is in the graph; there are {', '.join(sorted(kinds))}"
            )
    with blaming_the_model(PassError, "onnx-fp16 cannot take this graph"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of each weight below float16's smallest number
        converted = convert_float_to_float16(
            graph, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *settings.keep_float32]
        )
    changed = _floats(converted, TensorProto.FLOAT16)
    if changed == 0:
        raise PassError("onnx-fp16 changed nothing: no weight became float16")
    path = save_onnx(converted, context.folder / "fp16.onnx")
    effect = f"{changed} of {before} weights are float16"
    figures = {"weights_fp16": changed, "weights": before}
    record = PassRecord("onnx-fp16", effect, ("onnx", "onnxruntime"), figures=figures)
    return PassOutput(WorkingModel(path, Form.ONNX), record)


def _floats(model: onnx.ModelProto, data_type: int) -> int:
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == data_type)
