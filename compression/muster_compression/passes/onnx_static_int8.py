"""8-bit weights and activations, per channel, as QDQ nodes that ONNX Runtime fuses into integer kernels."""

from __future__ import annotations

import difflib
import logging
import platform
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import onnx
from pydantic import Field

from muster_bench.face_tensor import InputFace
from muster_compression.dataset.splits import Array
from muster_compression.face import bind, open_artifact
from muster_compression.graph.onnx_clean import load_onnx, save_onnx
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel
from muster_protos.model import Format

_OLDEST_OPSET = 13  # per-channel QuantizeLinear
_FEWEST_SAMPLES = 8


class OnnxStaticInt8Settings(Settings):
    """How to quantize."""

    target: Literal["auto", "x86", "arm"] = "auto"  # x86: u8 activations (s8s8 is 1.6-2.6x slower there); arm: s8
    calibration_samples: int = Field(256, ge=_FEWEST_SAMPLES, le=2000)
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    per_channel: bool = True
    keep_float: tuple[str, ...] = ()  # names of operators that stay as they are


SETTINGS = OnnxStaticInt8Settings


def apply(model: WorkingModel, settings: OnnxStaticInt8Settings, context: PassContext) -> PassOutput:
    """Quantize with ranges measured on the calibration samples.

    Raises:
        PassError: no samples, an opset older than 13, a graph that is quantized already, or nothing changed.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    before = load_onnx(model.path)
    _check(before, context)
    _check_names(before, settings.keep_float)
    reader = _reader(model, settings, context)
    target = _target(settings.target)
    raw, final = context.folder / "int8.raw.onnx", context.folder / "int8.onnx"
    logging.getLogger().setLevel(logging.ERROR)  # it logs advice to the root logger
    try:
        quantize_static(
            str(model.path),
            str(raw),
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=settings.per_channel,
            activation_type=QuantType.QUInt8 if target == "x86" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_method(settings.calibration),
            nodes_to_exclude=list(settings.keep_float),
        )
    except Exception as error:
        raise PassError(f"onnx-static-int8 cannot take this graph: {' '.join(str(error).split())[:300]}") from error
    after = load_onnx(raw)
    effect = _effect(before, after)
    save_onnx(after, final)
    raw.unlink()
    record = PassRecord("onnx-static-int8", effect, ("onnx", "onnxruntime"), target, reader.count)
    return PassOutput(WorkingModel(final, Form.ONNX), record)


def _check(model: onnx.ModelProto, context: PassContext) -> None:
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise PassError(
            f"onnx-static-int8 expected opset {_OLDEST_OPSET} or later (per-channel quantization), found {opset}; "
            "convert the model with onnx.version_converter or export it again"
        )
    kinds = {node.op_type for node in model.graph.node}
    if kinds & {"QuantizeLinear", "QLinearConv", "ConvInteger"}:
        raise PassError("onnx-static-int8 expected a float model, found one that is quantized already")
    count = len(next(iter(context.calibration.values()), ()))
    if count < _FEWEST_SAMPLES:
        raise PassError(f"onnx-static-int8 expected at least {_FEWEST_SAMPLES} samples to calibrate on, found {count}")


def _check_names(model: onnx.ModelProto, names: tuple[str, ...]) -> None:
    """The library ignores names that do not exist."""
    known = [node.name for node in model.graph.node]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.3)
            raise PassError(f"onnx-static-int8: no operator is named {name!r}; near it are {', '.join(near) or 'none'}")


def _reader(model: WorkingModel, settings: OnnxStaticInt8Settings, context: PassContext) -> Any:
    """ONNX Runtime's CalibrationDataReader over the canonical samples, bound to the artifact's own tensors."""
    from onnxruntime.quantization import CalibrationDataReader

    session = open_artifact(model.path, Format.ONNX)
    binding = bind(session, context.signature)
    session.close()
    specs = {spec.name: spec for spec in context.signature.inputs}
    faces = {item.canonical_name: InputFace(specs[item.canonical_name], item) for item in binding.inputs}
    total = len(next(iter(context.calibration.values())))
    chosen = np.arange(total)
    if total > settings.calibration_samples:
        generator = np.random.default_rng(context.seed)
        chosen = np.sort(generator.choice(total, settings.calibration_samples, replace=False))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        count = len(chosen)

        def __init__(self) -> None:
            self._feeds = self._iterate()
            self._done = 0

        def get_next(self) -> dict[str, Array] | None:
            self._done += 1
            context.on_progress(min(0.9, self._done / self.count), f"calibrating: {self._done} of {self.count}")
            return next(self._feeds, None)

        @staticmethod
        def _iterate() -> Iterator[dict[str, Array]]:
            for index in chosen:
                yield {
                    face.tensor_name: face.convert(context.calibration[name][index : index + 1])
                    for name, face in faces.items()
                }

    return Reader()


def _target(asked: str) -> str:
    if asked != "auto":
        return asked
    return "arm" if platform.machine().lower() in ("aarch64", "arm64", "armv7l", "armv8l") else "x86"


def _method(name: str) -> Any:
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[name]


def _effect(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """How many convolutions and products now read quantized weights."""
    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    total = sum(node.op_type in kinds for node in before.graph.node)
    producers = {output: node for node in after.graph.node for output in node.output}
    quantized: Counter[str] = Counter()
    for node in after.graph.node:
        if node.op_type in kinds and len(node.input) > 1:
            weight = producers.get(node.input[1])
            quantized[node.op_type] += weight is not None and weight.op_type == "DequantizeLinear"
    changed = sum(quantized.values())
    if changed == 0:
        raise PassError(f"onnx-static-int8 changed nothing: none of {total} convolutions and products was quantized")
    return f"{changed} of {total} convolutions and matrix products are int8"
