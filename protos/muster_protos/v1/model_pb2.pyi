from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORMAT_UNSPECIFIED: _ClassVar[Format]
    FORMAT_ONNX: _ClassVar[Format]
    FORMAT_TFLITE: _ClassVar[Format]
FORMAT_UNSPECIFIED: Format
FORMAT_ONNX: Format
FORMAT_TFLITE: Format

class ArtifactRef(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "dtype", "shape", "dim_names")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DIM_NAMES_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dim_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dim_names: _Optional[_Iterable[str]] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("inputs", "outputs", "layout", "labels", "preprocessing", "task", "metric")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    layout: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    preprocessing: str
    task: str
    metric: str
    def __init__(self, inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., layout: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., preprocessing: _Optional[str] = ..., task: _Optional[str] = ..., metric: _Optional[str] = ...) -> None: ...

class TensorBinding(_message.Message):
    __slots__ = ("canonical_name", "tensor_name", "dtype", "shape", "permutation", "scale", "zero_point")
    CANONICAL_NAME_FIELD_NUMBER: _ClassVar[int]
    TENSOR_NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    PERMUTATION_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    ZERO_POINT_FIELD_NUMBER: _ClassVar[int]
    canonical_name: str
    tensor_name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    permutation: _containers.RepeatedScalarFieldContainer[int]
    scale: float
    zero_point: int
    def __init__(self, canonical_name: _Optional[str] = ..., tensor_name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., permutation: _Optional[_Iterable[int]] = ..., scale: _Optional[float] = ..., zero_point: _Optional[int] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("inputs", "outputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[TensorBinding]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorBinding]
    def __init__(self, inputs: _Optional[_Iterable[_Union[TensorBinding, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorBinding, _Mapping]]] = ...) -> None: ...

class Accuracy(_message.Message):
    __slots__ = ("n", "metric", "value", "ci_low", "ci_high", "agreement", "agreement_ci_low", "agreement_ci_high", "max_abs_error", "cosine_distance", "ece", "unavailable_reason")
    N_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CI_LOW_FIELD_NUMBER: _ClassVar[int]
    CI_HIGH_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_CI_LOW_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_CI_HIGH_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_ERROR_FIELD_NUMBER: _ClassVar[int]
    COSINE_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ECE_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    n: int
    metric: str
    value: float
    ci_low: float
    ci_high: float
    agreement: float
    agreement_ci_low: float
    agreement_ci_high: float
    max_abs_error: float
    cosine_distance: float
    ece: float
    unavailable_reason: str
    def __init__(self, n: _Optional[int] = ..., metric: _Optional[str] = ..., value: _Optional[float] = ..., ci_low: _Optional[float] = ..., ci_high: _Optional[float] = ..., agreement: _Optional[float] = ..., agreement_ci_low: _Optional[float] = ..., agreement_ci_high: _Optional[float] = ..., max_abs_error: _Optional[float] = ..., cosine_distance: _Optional[float] = ..., ece: _Optional[float] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class VariantManifest(_message.Message):
    __slots__ = ("variant_id", "model_id", "model_version", "name", "parent_variant_id", "recipe", "seed", "artifact", "format", "precision", "params", "macs", "sparsity", "transit_bytes", "signature", "binding", "accuracy", "golden", "golden_max_abs_error", "evaluation", "tool_versions", "target_hint", "created_at_ns", "opset", "calibration", "sqnr_db", "operators", "calibration_temperature", "calibrated_ece")
    class ToolVersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OperatorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARENT_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MACS_FIELD_NUMBER: _ClassVar[int]
    SPARSITY_FIELD_NUMBER: _ClassVar[int]
    TRANSIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_MAX_ABS_ERROR_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    TOOL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    TARGET_HINT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    OPSET_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    SQNR_DB_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_ECE_FIELD_NUMBER: _ClassVar[int]
    variant_id: str
    model_id: str
    model_version: int
    name: str
    parent_variant_id: str
    recipe: str
    seed: int
    artifact: ArtifactRef
    format: Format
    precision: str
    params: int
    macs: int
    sparsity: float
    transit_bytes: int
    signature: Signature
    binding: Binding
    accuracy: Accuracy
    golden: ArtifactRef
    golden_max_abs_error: float
    evaluation: ArtifactRef
    tool_versions: _containers.ScalarMap[str, str]
    target_hint: str
    created_at_ns: int
    opset: int
    calibration: ArtifactRef
    sqnr_db: float
    operators: _containers.ScalarMap[str, int]
    calibration_temperature: float
    calibrated_ece: float
    def __init__(self, variant_id: _Optional[str] = ..., model_id: _Optional[str] = ..., model_version: _Optional[int] = ..., name: _Optional[str] = ..., parent_variant_id: _Optional[str] = ..., recipe: _Optional[str] = ..., seed: _Optional[int] = ..., artifact: _Optional[_Union[ArtifactRef, _Mapping]] = ..., format: _Optional[_Union[Format, str]] = ..., precision: _Optional[str] = ..., params: _Optional[int] = ..., macs: _Optional[int] = ..., sparsity: _Optional[float] = ..., transit_bytes: _Optional[int] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ..., binding: _Optional[_Union[Binding, _Mapping]] = ..., accuracy: _Optional[_Union[Accuracy, _Mapping]] = ..., golden: _Optional[_Union[ArtifactRef, _Mapping]] = ..., golden_max_abs_error: _Optional[float] = ..., evaluation: _Optional[_Union[ArtifactRef, _Mapping]] = ..., tool_versions: _Optional[_Mapping[str, str]] = ..., target_hint: _Optional[str] = ..., created_at_ns: _Optional[int] = ..., opset: _Optional[int] = ..., calibration: _Optional[_Union[ArtifactRef, _Mapping]] = ..., sqnr_db: _Optional[float] = ..., operators: _Optional[_Mapping[str, int]] = ..., calibration_temperature: _Optional[float] = ..., calibrated_ece: _Optional[float] = ...) -> None: ...
