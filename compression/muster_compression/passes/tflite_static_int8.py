"""8-bit weights and activations of a TFLite file, per channel, by ai-edge-quantizer with true minimum and maximum.

Its default calibration averages minima and maxima over the samples and so clips: signal to quantization noise 15-17 dB
where the true range gives 30-38.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from muster_bench.face_tensor import InputFace
from muster_compression.artifact import write_bytes
from muster_compression.dataset.splits import Array
from muster_compression.face import bind, open_artifact
from muster_compression.graph.tflite_facts import tflite_facts
from muster_compression.graph.tflite_signature import with_signature
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel
from muster_protos.errors import MissingExtraError
from muster_protos.model import Format

_FEWEST_SAMPLES = 8


class TfliteStaticInt8Settings(Settings):
    """How to quantize."""

    calibration_samples: int = Field(256, ge=_FEWEST_SAMPLES, le=2000)


SETTINGS = TfliteStaticInt8Settings


def apply(model: WorkingModel, settings: TfliteStaticInt8Settings, context: PassContext) -> PassOutput:
    """Quantize with ranges measured on the calibration samples; inputs and outputs become int8 too.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: no samples, a model that is quantized already, or nothing changed.
    """
    quantizer, recipe, calibrator, min_max_update = _library()
    before = tflite_facts(model.path)
    if before.precision not in ("fp32", "fp64"):
        raise PassError(f"tflite-static-int8 expected a float32 model, found {before.precision or 'no weights'}")
    count = len(next(iter(context.calibration.values()), ()))
    if count < _FEWEST_SAMPLES:
        raise PassError(
            f"tflite-static-int8 expected at least {_FEWEST_SAMPLES} samples to calibrate on, found {count}"
        )
    chosen = _choose(count, settings.calibration_samples, context.seed)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            signed, key = with_signature(model.path, context.folder / "signed.tflite")
            work = quantizer.Quantizer(str(signed), recipe.static_wi8_ai8())
            statistics = calibrator.Calibrator(str(signed), num_threads=1, qsv_update_func=min_max_update)
            samples = _samples(signed, context, _arguments(signed, key), chosen)
            statistics.calibrate({key: samples}, work._recipe_manager)  # the library has no public way to its manager
            quantized = work.quantize(statistics.get_model_qsvs(), enable_progress_report=False).quantized_model
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
            raise PassError(
                f"tflite-static-int8 cannot take this model: {' '.join(str(error).split())[:300]}"
            ) from error
    path = write_bytes(context.folder / "int8.tflite", bytes(quantized))
    after = tflite_facts(path)
    if after.precision != "int8":
        raise PassError(f"tflite-static-int8 left the weights {after.precision}: no operator of it was quantized")
    record = PassRecord(
        "tflite-static-int8",
        f"weights of {after.params} parameters are int8",
        ("ai-edge-quantizer", "ai-edge-litert"),
        "any",
        len(chosen),
    )
    return PassOutput(WorkingModel(path, Form.TFLITE), record)


def _library() -> tuple[Any, Any, Any, Any]:
    try:
        from ai_edge_quantizer import calibrator, quantizer, recipe
        from ai_edge_quantizer.utils.qsv_utils import min_max_update
    except ImportError as error:
        raise MissingExtraError(
            "quantizing TFLite models needs ai-edge-quantizer: pip install 'muster-edge[compress-tflite]'"
        ) from error
    return quantizer, recipe, calibrator, min_max_update


def _choose(total: int, wanted: int, seed: int) -> Array:
    if total <= wanted:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, wanted, replace=False))


def _arguments(path: Path, key: str) -> dict[str, str]:
    """The signature's argument names by tensor name."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(path)).get_signature_runner(key).get_input_details()
    return {item["name"]: argument for argument, item in details.items()}


def _samples(path: Path, context: PassContext, arguments: Mapping[str, str], chosen: Array) -> list[dict[str, Array]]:
    """Canonical samples as the file's own tensors, by argument name."""
    session = open_artifact(path, Format.TFLITE)
    binding = bind(session, context.signature)
    session.close()
    specs = {spec.name: spec for spec in context.signature.inputs}
    faces = [InputFace(specs[item.canonical_name], item) for item in binding.inputs]
    names = [item.canonical_name for item in binding.inputs]
    return [
        {
            arguments.get(face.tensor_name, face.tensor_name): face.convert(
                context.calibration[name][index : index + 1]
            )
            for name, face in zip(names, faces, strict=True)
        }
        for index in chosen.tolist()
    ]
