"""Infer shapes and let ONNX Runtime fold what can be folded, so that a quantizer sees plain operators."""

from __future__ import annotations

import onnx
import onnx.version_converter

from muster_compression.blame import blaming_the_model
from muster_compression.graph.onnx_clean import load_onnx, save_onnx
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel


class OnnxPrepareSettings(Settings):
    """Nothing to set."""


SETTINGS = OnnxPrepareSettings
_OLDEST_OPSET = 13
_FIRST_IR_WITH_PLAIN_WEIGHTS = 4


def apply(model: WorkingModel, settings: OnnxPrepareSettings, context: PassContext) -> PassOutput:
    """ONNX Runtime's own pre-processing for quantization; computes the same."""
    del settings
    from onnxruntime.quantization.shape_inference import quant_pre_process

    before = load_onnx(model.path)
    operators = len(before.graph.node)
    current = save_onnx(_with_recent_opset(_with_plain_weights(before)), context.folder / "current.onnx")
    raw, final = context.folder / "prepared.raw.onnx", context.folder / "prepared.onnx"
    with blaming_the_model(PassError, "onnx-prepare cannot take this graph"):
        quant_pre_process(str(current), str(raw), skip_symbolic_shape=_has_no_free_dimension(before))
    after = _with_plain_weights(load_onnx(raw))
    save_onnx(after, final)
    raw.unlink()
    effect = f"{operators} operators became {len(after.graph.node)}, shapes inferred"
    return PassOutput(WorkingModel(final, Form.ONNX), PassRecord("onnx-prepare", effect, ("onnx", "onnxruntime")))


def _with_recent_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at an opset that quantizers take: per-channel quantization came with 13.

    Raises:
        PassError: onnx's converter does not know an operator of it.
    """
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset >= _OLDEST_OPSET:
        return model
    said = f"onnx-prepare expected opset {_OLDEST_OPSET} or later, found {opset}; export it again, upgrading fails"
    with blaming_the_model(PassError, said):
        return onnx.version_converter.convert_version(model, _OLDEST_OPSET)


def _with_plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Old files list their weights as inputs too, so that callers could replace them; here weights are weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, _FIRST_IR_WITH_PLAIN_WEIGHTS)
    return model


def _has_no_free_dimension(model: onnx.ModelProto) -> bool:
    """Symbolic inference is only needed for free dimensions, and is the part that knows fewer operators."""
    return all(dim.HasField("dim_value") for value in model.graph.input for dim in value.type.tensor_type.shape.dim)
