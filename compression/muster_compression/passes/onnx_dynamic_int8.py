"""8-bit weights of matrix products, activations quantized while the model runs: no samples needed, for transformers.

Convolutions stay as they are: ONNX Runtime's integer convolution for this case (ConvInteger) makes CNNs 3.4-10.9 times
slower than float. A model most of whose weights are convolutions is refused, with static quantization named instead.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from pydantic import Field

from muster_compression.blame import blaming_the_model
from muster_compression.graph.library_logging import without_library_logging
from muster_compression.graph.onnx_clean import load_onnx, save_onnx
from muster_compression.graph.onnx_gemm import split_gemms
from muster_compression.graph.onnx_weights import weighted_operators
from muster_compression.passes.onnx_float import check_names, load_float
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel
from muster_compression.passes.products import check_share

_NAME = "onnx-dynamic-int8"
_KINDS = ["MatMul", "Attention", "LSTM", "Gather", "EmbedLayerNormalization"]


class OnnxDynamicInt8Settings(Settings):
    """What to quantize."""

    least_share: float = Field(0.5, ge=0.0, le=1.0)  # of the weights that must become int8; less is refused
    per_channel: bool = True
    reduce_range: bool = False  # 7-bit weights, for x86 processors without VNNI
    keep_float: tuple[str, ...] = ()  # names of operators that stay as they are


SETTINGS = OnnxDynamicInt8Settings


def apply(model: WorkingModel, settings: OnnxDynamicInt8Settings, context: PassContext) -> PassOutput:
    """Quantize the weights of Gemm, MatMul, Attention, LSTM and of tables that Gather reads.

    Raises:
        PassError: the graph is quantized already, its opset is older than 13, or too few of its weights changed.
    """
    graph = load_float(model, _NAME)
    check_names(graph, settings.keep_float, _NAME)
    before = weighted_operators(graph)
    split_gemms(graph)
    plain = save_onnx(graph, context.folder / "products.onnx")
    with blaming_the_model(PassError, f"{_NAME} cannot take this graph"):
        after = _quantized(plain, settings, context)
    effect, figures = check_share(before, weighted_operators(after), settings.least_share, _NAME, "int8")
    path = save_onnx(after, context.folder / "int8.onnx")
    return PassOutput(
        WorkingModel(path, Form.ONNX), PassRecord(_NAME, effect, ("onnx", "onnxruntime"), figures=figures)
    )


def _quantized(path: Path, settings: OnnxDynamicInt8Settings, context: PassContext) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    raw = context.folder / "int8.raw.onnx"
    with without_library_logging():
        quantize_dynamic(
            path,
            raw,
            op_types_to_quantize=_KINDS,
            per_channel=settings.per_channel,
            reduce_range=settings.reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(settings.keep_float),
        )
    after = load_onnx(raw)
    raw.unlink()
    return after
