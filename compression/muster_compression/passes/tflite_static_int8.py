"""8-bit weights and activations of a TFLite file, per channel, by ai-edge-quantizer with true minimum and maximum.

Its default calibration averages minima and maxima over the samples and so clips: signal to quantization noise 15-17 dB
where the true range gives 30-38.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster_compression.artifact import write_bytes
from muster_compression.dataset.splits import Array
from muster_compression.graph.tflite_bias import BiasShifts, bias_shifts
from muster_compression.graph.tflite_quantize import QUANTIZER_ERRORS, Rule, exactly, measure_ranges, quantize
from muster_compression.graph.tflite_signature import with_signature
from muster_compression.graph.tflite_stem import tflite_stem
from muster_compression.passes.calibration import FEWEST_SAMPLES, MOST_SAMPLES, choose, feeds
from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.passes.tflite_file import check_float, finish, refusal
from muster_protos.model import Format

_NAME = "tflite-static-int8"
BIAS_SAMPLES = 64


class TfliteStaticInt8Settings(Settings):
    """How to quantize."""

    calibration_samples: int = Field(256, ge=FEWEST_SAMPLES, le=MOST_SAMPLES)
    bias_correction: bool = True  # biases take back the mean error of rounded weights
    stem: Literal["int8", "float"] = "int8"  # float: the first convolutions, which read few channels, stay as they are


SETTINGS = TfliteStaticInt8Settings


def apply(model: WorkingModel, settings: TfliteStaticInt8Settings, context: PassContext) -> PassOutput:
    """Quantize with ranges measured on the calibration samples; inputs and outputs become int8 too.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: no samples, a model that is quantized already, or nothing changed.
    """
    check_float(model, _NAME)
    rows = choose(context, settings.calibration_samples, _NAME)
    corrected = 0
    try:
        signed, ranges = calibrated(model.path, context, rows)
        stem = tflite_stem(signed) if settings.stem == "float" else ()
        rules = [Rule("static"), *([Rule("float", operators=exactly(stem))] if stem else [])]
        payload = quantize(signed, rules, ranges)
        if settings.bias_correction:
            shifts = shifts_of(signed, payload, context, rows)
            payload = quantize(shifts.applied(context.folder / "corrected.tflite"), rules, ranges)
            corrected = len(shifts.by_output)
    except QUANTIZER_ERRORS as error:
        raise refusal(_NAME, error) from error
    advice = "no operator of it has an 8-bit form"
    output = finish(payload, "int8", "int8", 0.5, _NAME, context, advice, len(rows))
    figures = {**output.record.figures, "biases_corrected": corrected}
    if stem:
        figures["stem_float"] = ", ".join(stem)
    return PassOutput(output.model, replace(output.record, figures=figures))


def calibrated(path: Path, context: PassContext, rows: NDArray[np.intp]) -> tuple[Path, Mapping[str, Any]]:
    """The file with a signature, and the ranges of its tensors over the samples."""
    signed, key = with_signature(path, context.folder / "signed.tflite")
    return signed, measure_ranges(signed, key, _samples(signed, key, context, rows))


def shifts_of(signed: Path, payload: bytes, context: PassContext, rows: NDArray[np.intp]) -> BiasShifts:
    """What the biases must take back in the quantized file ``payload`` of ``signed``."""
    quantized = write_bytes(context.folder / "uncorrected.tflite", payload)
    return bias_shifts(
        signed, quantized, feeds(signed, Format.TFLITE, context, context.calibration, rows[:BIAS_SAMPLES])
    )


def _samples(signed: Path, key: str, context: PassContext, rows: NDArray[np.intp]) -> Iterator[dict[str, Array]]:
    """By the signature's argument names, with progress for each."""
    arguments = _arguments(signed, key)
    samples = feeds(signed, Format.TFLITE, context, context.calibration, rows)
    for index, sample in enumerate(samples):
        context.on_progress(min(0.9, index / len(rows)), f"calibrating: {index} of {len(rows)}")
        yield {arguments.get(name, name): values for name, values in sample.items()}


def _arguments(path: Path, key: str) -> dict[str, str]:
    """The signature's argument names by tensor name."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(path)).get_signature_runner(key).get_input_details()
    return {item["name"]: argument for argument, item in details.items()}
