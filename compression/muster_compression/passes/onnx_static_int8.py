"""8-bit weights and activations, per channel, as QDQ nodes that ONNX Runtime fuses into integer kernels."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Literal

import onnx
from pydantic import Field

from muster_compression.blame import blaming_the_model
from muster_compression.dataset.splits import Array
from muster_compression.graph.onnx_clean import save_onnx
from muster_compression.graph.onnx_qdq import QdqQuantizer, QdqStyle, Target
from muster_compression.graph.onnx_stem import onnx_stem
from muster_compression.graph.onnx_weights import weighted_operators
from muster_compression.passes.calibration import FEWEST_SAMPLES, MOST_SAMPLES, choose, feeds
from muster_compression.passes.onnx_float import check_names, load_float
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel
from muster_protos.model import Format

_NAME = "onnx-static-int8"
BIAS_SAMPLES = 64


class OnnxStaticInt8Settings(Settings):
    """How to quantize."""

    target: Literal["auto", "x86", "arm"] = "auto"  # x86: u8 activations (s8s8 is 1.6-2.6x slower there); arm: s8
    calibration_samples: int = Field(256, ge=FEWEST_SAMPLES, le=MOST_SAMPLES)
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    per_channel: bool = True
    reduce_range: bool = False  # 7-bit weights, for x86 processors without VNNI, whose 16-bit sums overflow
    bias_correction: bool = True  # biases take back the mean error of rounded weights: 0.6-3 dB on depthwise CNNs
    operators: tuple[str, ...] = ()  # kinds to quantize; empty = all that the library knows
    keep_float: tuple[str, ...] = ()  # names of operators that stay as they are
    stem: Literal["int8", "float"] = "int8"  # float: so do the first convolutions, which read few channels


SETTINGS = OnnxStaticInt8Settings


def apply(model: WorkingModel, settings: OnnxStaticInt8Settings, context: PassContext) -> PassOutput:
    """Quantize with ranges measured on the calibration samples.

    Raises:
        PassError: no samples, an opset older than 13, a graph that is quantized already, or nothing changed.
    """
    before = load_float(model, _NAME)
    check_names(before, settings.keep_float, _NAME)
    rows = choose(context, settings.calibration_samples, _NAME)
    target = target_of(settings.target)
    biased = BIAS_SAMPLES if settings.bias_correction else 0
    style = QdqStyle(target, settings.per_channel, settings.reduce_range, settings.operators, biased)
    stem = onnx_stem(before) if settings.stem == "float" else ()
    named = save_onnx(before, context.folder / "named.onnx")
    samples = reporting(feeds(named, Format.ONNX, context, context.calibration, rows), len(rows), context)
    with blaming_the_model(PassError, f"{_NAME} cannot take this graph"):
        quantizer = QdqQuantizer(named, samples, context.folder, style, settings.calibration)
        spared = {*settings.keep_float, *stem}
        after = quantizer.quantized(excluded=spared)
    effect, figures = weights_effect(before, after, _NAME)
    figures["biases_corrected"] = len(set(quantizer.corrected) - spared)
    if stem:
        figures["stem_float"] = ", ".join(stem)
    path = save_onnx(after, context.folder / "int8.onnx")
    record = PassRecord(_NAME, effect, ("onnx", "onnxruntime"), target, len(rows), figures)
    return PassOutput(WorkingModel(path, Form.ONNX), record)


def target_of(asked: Literal["auto", "x86", "arm"]) -> Target:
    """The kind of processor that the result is for; ``auto`` is this host's."""
    if asked != "auto":
        return asked
    return "arm" if platform.machine().lower() in ("aarch64", "arm64", "armv7l", "armv8l") else "x86"


def reporting(samples: Iterable[dict[str, Array]], count: int, context: PassContext) -> Iterator[dict[str, Array]]:
    """The samples, with progress for each."""
    for index, sample in enumerate(samples):
        context.on_progress(min(0.9, index / count), f"calibrating: {index} of {count}")
        yield sample


def weights_effect(
    before: onnx.ModelProto, after: onnx.ModelProto, pass_name: str
) -> tuple[str, dict[str, float | int | str]]:
    """How many operators and weights read integers now, for people and as figures.

    Raises:
        PassError: none does.
    """
    had = weighted_operators(before)
    left = weighted_operators(after)
    total, changed = (
        sum(item.params for item in had),
        sum(item.params for item in had) - sum(item.params for item in left),
    )
    operators = len(had) - len(left)
    if changed <= 0:
        raise PassError(f"{pass_name} changed nothing: none of {len(had)} operators with weights was quantized")
    text = f"{operators} of {len(had)} convolutions and matrix products are int8, {changed} of {total} weights"
    figures: dict[str, float | int | str] = {
        "operators_int8": operators,
        "operators": len(had),
        "weights_int8": changed,
        "weights": total,
    }
    return text, figures
