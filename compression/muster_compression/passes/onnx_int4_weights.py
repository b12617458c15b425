"""4-bit weights of matrix products in blocks (MatMulNBits), activations in float: for transformers, without samples.

The library touches MatMul only and passes over everything else without a word, so Gemm becomes MatMul and Add first,
and the record says how many weights changed of how many.
"""

from __future__ import annotations

import copy
from typing import Literal

import onnx
import onnx.shape_inference
from pydantic import Field

from muster_compression.blame import blaming_the_model
from muster_compression.graph.library_logging import without_library_logging
from muster_compression.graph.onnx_clean import save_onnx
from muster_compression.graph.onnx_gemm import drop_unused, split_gemms
from muster_compression.graph.onnx_weights import weighted_operators
from muster_compression.passes.onnx_float import check_names, load_float
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel
from muster_compression.passes.products import check_share

_NAME = "onnx-int4-weights"
_INTEGER_ARITHMETIC = 4  # accuracy_level of the operator: activations are rounded to int8 for the product


class OnnxInt4WeightsSettings(Settings):
    """How to quantize."""

    block_size: Literal[16, 32, 64, 128, 256] = 32  # weights that share a scale: fewer are closer and larger
    is_symmetric: bool = True  # without zero points: smaller, and 1 dB better on a small vision transformer
    arithmetic: Literal["float", "int8"] = "float"  # int8 pays for wide products only
    least_share: float = Field(0.5, ge=0.0, le=1.0)  # of the weights that must become int4; less is refused
    keep_float: tuple[str, ...] = ()  # names of operators that stay as they are


SETTINGS = OnnxInt4WeightsSettings


def apply(model: WorkingModel, settings: OnnxInt4WeightsSettings, context: PassContext) -> PassOutput:
    """Quantize the weights of MatMul and Gemm; needs ONNX Runtime's own operators where it runs.

    Raises:
        PassError: the graph is quantized already, its opset is older than 13, or too few of its weights changed.
    """
    graph = load_float(model, _NAME)
    check_names(graph, settings.keep_float, _NAME)
    before = weighted_operators(graph)
    split_gemms(graph)
    with blaming_the_model(PassError, f"{_NAME} cannot take this graph"):
        after = _quantized(onnx.shape_inference.infer_shapes(graph), settings)  # afterwards nothing knows the shapes
    drop_unused(after.graph)
    effect, figures = check_share(before, weighted_operators(after), settings.least_share, _NAME, "int4")
    path = save_onnx(after, context.folder / "int4.onnx")
    return PassOutput(
        WorkingModel(path, Form.ONNX), PassRecord(_NAME, effect, ("onnx", "onnxruntime"), figures=figures)
    )


def _quantized(graph: onnx.ModelProto, settings: OnnxInt4WeightsSettings) -> onnx.ModelProto:
    with without_library_logging():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            copy.deepcopy(graph),
            block_size=settings.block_size,
            is_symmetric=settings.is_symmetric,
            accuracy_level=_INTEGER_ARITHMETIC if settings.arithmetic == "int8" else None,
            nodes_to_exclude=list(settings.keep_float),
        )
        quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made
