"""Static int8 with the most sensitive layers in float: greedy by measured sensitivity, stops when it stops helping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import onnx

from muster_compression.artifact import write_bytes
from muster_compression.blame import blaming_the_model
from muster_compression.graph.onnx_clean import save_onnx
from muster_compression.graph.onnx_qdq import QdqQuantizer, QdqStyle
from muster_compression.passes.calibration import choose, comparison, feeds
from muster_compression.passes.mixed_precision import MixedInt8Settings, account, find_mixture
from muster_compression.passes.onnx_float import load_float
from muster_compression.passes.onnx_static_int8 import BIAS_SAMPLES, reporting, target_of, weights_effect
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, WorkingModel
from muster_compression.sensitivity.answers import answers_of
from muster_compression.sensitivity.closeness import Closeness, closeness
from muster_compression.sensitivity.onnx_layers import quantizable_units
from muster_protos.model import Format

_NAME = "onnx-mixed-int8"


class OnnxMixedInt8Settings(MixedInt8Settings):
    """How to quantize, and when to stop."""

    target: Literal["auto", "x86", "arm"] = "auto"
    per_channel: bool = True
    reduce_range: bool = False
    bias_correction: bool = True


SETTINGS = OnnxMixedInt8Settings


def apply(model: WorkingModel, settings: OnnxMixedInt8Settings, context: PassContext) -> PassOutput:
    """Quantize, with the layers in float that bring most for it.

    Outputs are compared on the holdout samples where there are any, else on calibration samples.

    Raises:
        PassError: no samples, an opset older than 13, a graph that is quantized already, or nothing changed.
    """
    before = load_float(model, _NAME)
    rows = choose(context, settings.calibration_samples, _NAME)
    named = save_onnx(before, context.folder / "named.onnx")
    target = target_of(settings.target)
    biased = BIAS_SAMPLES if settings.bias_correction else 0
    style = QdqStyle(target, settings.per_channel, settings.reduce_range, bias_samples=biased)
    compare = _comparison(named, settings, context)
    with blaming_the_model(PassError, f"{_NAME} cannot take this graph"):
        fed = reporting(feeds(named, Format.ONNX, context, context.calibration, rows), len(rows), context)
        quantizer = QdqQuantizer(named, fed, context.folder, style)
        units = quantizable_units(quantizer)
        mixture = find_mixture(
            units,
            lambda unit: compare(quantizer.quantized(only=unit.operators)),
            lambda operators: compare(quantizer.quantized(excluded=operators)),
            settings,
            context,
        )
        after = quantizer.quantized(excluded=mixture.operators)
    _, figures = weights_effect(before, after, _NAME)
    path = save_onnx(after, context.folder / "mixed.onnx")
    plain = save_onnx(quantizer.quantized(), context.folder / "plain.onnx").stat().st_size
    effect, own = account(units, mixture, plain, path.stat().st_size)
    tools = ("onnx", "onnxruntime")
    record = PassRecord(_NAME, effect, tools, target, len(rows), figures | own, mixture.sensitivities)
    return PassOutput(WorkingModel(path, Form.ONNX), record)


def _comparison(
    path: Path, settings: OnnxMixedInt8Settings, context: PassContext
) -> Callable[[onnx.ModelProto], Closeness]:
    """A function that runs a candidate and says how close it is to the float model at ``path``."""
    samples, rows = comparison(context, settings.comparison_samples, _NAME)
    wanted = answers_of(path, Format.ONNX, context.signature, samples, rows)
    scratch = context.folder / "candidate.onnx"

    def compare(candidate: onnx.ModelProto) -> Closeness:
        write_bytes(scratch, candidate.SerializeToString())
        return closeness(wanted, answers_of(scratch, Format.ONNX, context.signature, samples, rows))

    return compare
