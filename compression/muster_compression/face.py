"""The canonical signature of a model, taken from its first artifact, and sessions behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from muster_bench.binding import derive_binding
from muster_bench.face import Face
from muster_bench.runtimes import Session, open_session
from muster_protos.metric_names import is_regression_metric
from muster_protos.model import Binding, Format, Signature, TensorSpec

_FEW_CHANNELS = 4
_IMAGE_RANK = 4
_CANONICAL_FLOAT = "float32"


def host_runtime(format: Format) -> tuple[str, str]:  # noqa: A002
    """Runtime and provider that judge an artifact on the host."""
    return ("litert", "xnnpack") if format is Format.TFLITE else ("onnxruntime", "cpu")


def open_artifact(path: Path, format: Format, threads: int = 1) -> Session:  # noqa: A002
    """A session on the host's own runtime for this format.

    Raises:
        MissingExtraError: that runtime is not installed.
        ModelLoadError: it refuses the file.
    """
    runtime, provider = host_runtime(format)
    return open_session(path, format, runtime, provider, threads)


def open_face(path: Path, format: Format, signature: Signature, binding: Binding) -> Face:  # noqa: A002
    """The artifact behind the canonical face."""
    return Face(open_artifact(path, format), signature, binding)


def canonical_signature(session: Session, format: Format, labels: tuple[str, ...], metric: str) -> Signature:  # noqa: A002
    """What apps will see, whatever the variant: the artifact's names and shapes, floats where it is quantized.

    A quantized int8 input or output, and float16 or float64 ones, become float32; plain integers stay.
    """
    inputs = tuple(_canonical(spec, session) for spec in session.inputs)
    outputs = tuple(_canonical(spec, session) for spec in session.outputs)
    task = _task(inputs, outputs, metric)
    return Signature(
        inputs=inputs, outputs=outputs, layout=layout_of(inputs, format), labels=labels, task=task, metric=metric
    )


def bind(session: Session, signature: Signature) -> Binding:
    """How this artifact's tensors map to ``signature``.

    Raises:
        FaceError: they cannot; the message says which tensor and why.
    """
    return derive_binding(signature, session.inputs, session.outputs, session.quantization)


def layout_of(inputs: Sequence[TensorSpec], format: Format) -> str:  # noqa: A002
    """ "NCHW" or "NHWC" of the first image-like input; the axis with at most 4 entries holds the channels.

    When both or neither could, the format's habit decides: TFLite is NHWC, ONNX NCHW.
    """
    images = [spec.shape for spec in inputs if len(spec.shape) == _IMAGE_RANK and spec.dtype != "int64"]
    if not images:
        return ""
    _, second, _, last = images[0]
    could_be_first, could_be_last = 0 < second <= _FEW_CHANNELS, 0 < last <= _FEW_CHANNELS
    if could_be_first != could_be_last:
        return "NCHW" if could_be_first else "NHWC"
    return "NHWC" if format is Format.TFLITE else "NCHW"


def _canonical(spec: TensorSpec, session: Session) -> TensorSpec:
    is_float = spec.dtype.startswith("float")
    if is_float or spec.name in session.quantization:
        return TensorSpec(spec.name, _CANONICAL_FLOAT, spec.shape, spec.dim_names)
    return spec


def _task(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], metric: str) -> str:
    """Classification: the first output is one row of scores, and not as long as the input it might reconstruct."""
    if metric == "accuracy":
        return "classification"
    if is_regression_metric(metric):
        return "regression"
    scores = outputs[0]
    is_row = len([size for size in scores.shape if size not in (1, -1)]) == 1
    reconstructs = any(spec.shape == scores.shape for spec in inputs)
    return "classification" if is_row and scores.dtype.startswith("float") and not reconstructs else "unknown"


def class_count(scores: TensorSpec) -> int:
    """How many classes one row of scores has."""
    return math.prod(size for size in scores.shape if size > 0)


def versions(session: Session, format: Format) -> Mapping[str, str]:  # noqa: A002
    """The runtime that judged, by name."""
    return {host_runtime(format)[0]: session.runtime_version}
