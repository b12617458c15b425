"""Models, variants and their bindings. Mirrors v1/model.proto, which documents the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Format(Enum):
    """An artifact's file format, decided from its content."""

    UNSPECIFIED = "unspecified"
    ONNX = "onnx"
    TFLITE = "tflite"


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """Immutable bytes named by their sha256 (lower-case hex)."""

    sha256: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one tensor."""

    name: str = ""
    dtype: str = ""  # numpy name: "float32", "int8", ...
    shape: tuple[int, ...] = ()  # -1 = free dimension
    dim_names: tuple[str, ...] = ()  # one per dimension, "" = unnamed; or none at all


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's canonical inputs and outputs: what every app sees on every rung."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    layout: str = ""  # "NCHW", "NHWC", "" when it has no meaning
    labels: tuple[str, ...] = ()
    preprocessing: str = ""  # free text for people
    task: str = ""  # "classification", "regression", "unknown"
    metric: str = ""  # "accuracy", "auc", "mae", ... see metric_names; "" when no labels exist


@dataclass(frozen=True, slots=True)
class TensorBinding:
    """canonical = transpose(dequantize(tensor)); for an input the inverse."""

    canonical_name: str = ""
    tensor_name: str = ""
    dtype: str = ""  # the artifact's own dtype
    shape: tuple[int, ...] = ()  # the artifact's own shape, -1 = free
    permutation: tuple[
        int, ...
    ] = ()  # canonical axis -> tensor axis order as numpy.transpose takes it; empty = identity
    scale: float | None = None  # canonical = (tensor - zero_point) * scale; absent = not quantized
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """How a variant's tensors map to the model's signature."""

    inputs: tuple[TensorBinding, ...] = ()
    outputs: tuple[TensorBinding, ...] = ()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How right a variant is, with 95 % intervals, and how alike to its reference."""

    n: int = 0
    metric: str = ""
    value: float | None = None  # null with unavailable_reason when there are no labels
    ci_low: float | None = None  # Wilson 95 %
    ci_high: float | None = None
    agreement: float | None = None  # share of samples whose top-1 equals the reference's
    agreement_ci_low: float | None = None
    agreement_ci_high: float | None = None
    max_abs_error: float | None = None  # against the reference outputs
    cosine_distance: float | None = None
    ece: float | None = None  # expected calibration error, 15 equal-width bins
    unavailable_reason: str = ""


@dataclass(frozen=True, slots=True)
class VariantManifest:
    """Everything that is known of one variant; signed by the fleet."""

    variant_id: str = ""  # "<model>.v<version>.<name>"
    model_id: str = ""
    model_version: int = 0
    name: str = ""  # "fp32", "int8-static", ...
    parent_variant_id: str = ""  # empty for the baseline
    recipe: str = ""
    seed: int = 0
    artifact: ArtifactRef = ArtifactRef()
    format: Format = Format.UNSPECIFIED
    precision: str = ""  # read from the tensors: "fp32", "fp16", "int8", "mixed"
    params: int | None = None
    macs: int | None = None
    sparsity: float | None = None
    transit_bytes: int | None = None  # zstd-compressed size
    signature: Signature = Signature()
    binding: Binding = Binding()
    accuracy: Accuracy | None = None  # on the host's validation set
    golden: ArtifactRef | None = None  # npz: in_<canonical input>, out_<canonical output>
    golden_max_abs_error: float | None = None
    evaluation: ArtifactRef | None = None  # npz: x_<canonical input>, [y], ref_<canonical output>
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    target_hint: str = ""  # "x86", "arm", "any"
    created_at_ns: int = 0
    opset: int | None = None
    calibration: ArtifactRef | None = None  # npz: x_<canonical input>, unlabelled training samples; stays on the host
    sqnr_db: float | None = None  # outputs against the baseline's, on the validation set
    operators: Mapping[str, int] = field(default_factory=dict)  # operator type -> count in the artifact
    calibration_temperature: float | None = None  # scores / T before softmax makes its confidence honest
    calibrated_ece: float | None = None  # the ece when each sample is divided by a T fitted on the others
