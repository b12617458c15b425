"""Infer shapes and let ONNX Runtime fold what can be folded, so that a quantizer sees plain operators."""

from __future__ import annotations

import logging

import onnx

from muster_compression.graph.onnx_clean import load_onnx, save_onnx
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel


class OnnxPrepareSettings(Settings):
    """Nothing to set."""


SETTINGS = OnnxPrepareSettings


def apply(model: WorkingModel, settings: OnnxPrepareSettings, context: PassContext) -> PassOutput:
    """ONNX Runtime's own pre-processing for quantization; computes the same."""
    del settings
    from onnxruntime.quantization.shape_inference import quant_pre_process

    before = load_onnx(model.path)
    raw, final = context.folder / "prepared.raw.onnx", context.folder / "prepared.onnx"
    try:
        quant_pre_process(str(model.path), str(raw), skip_symbolic_shape=_has_no_free_dimension(before))
    except Exception as error:
        logging.getLogger(__name__).debug("quant_pre_process", exc_info=True)
        raise PassError(f"onnx-prepare cannot take this graph: {' '.join(str(error).split())[:300]}") from error
    after = load_onnx(raw)
    save_onnx(after, final)
    raw.unlink()
    effect = f"{len(before.graph.node)} operators became {len(after.graph.node)}, shapes inferred"
    return PassOutput(WorkingModel(final, Form.ONNX), PassRecord("onnx-prepare", effect, ("onnx", "onnxruntime")))


def _has_no_free_dimension(model: onnx.ModelProto) -> bool:
    """Symbolic inference is only needed for free dimensions, and is the part that knows fewer operators."""
    return all(dim.HasField("dim_value") for value in model.graph.input for dim in value.type.tensor_type.shape.dim)
