from muster_protos.v1 import benchmark_pb2 as _benchmark_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArtifactState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARTIFACT_STATE_UNSPECIFIED: _ClassVar[ArtifactState]
    ARTIFACT_STATE_FETCHING: _ClassVar[ArtifactState]
    ARTIFACT_STATE_VERIFIED: _ClassVar[ArtifactState]
    ARTIFACT_STATE_BAD: _ClassVar[ArtifactState]

class DeploymentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEPLOYMENT_STATE_UNSPECIFIED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_PENDING: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_FETCHED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_VERIFIED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_SELF_TESTED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_ACTIVATED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_COMMITTED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_ROLLED_BACK: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_FAILED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_CANCELLED: _ClassVar[DeploymentState]

class BenchmarkPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BENCHMARK_PHASE_UNSPECIFIED: _ClassVar[BenchmarkPhase]
    BENCHMARK_PHASE_QUEUED: _ClassVar[BenchmarkPhase]
    BENCHMARK_PHASE_RUNNING: _ClassVar[BenchmarkPhase]
    BENCHMARK_PHASE_FINISHED: _ClassVar[BenchmarkPhase]
    BENCHMARK_PHASE_FAILED: _ClassVar[BenchmarkPhase]
ARTIFACT_STATE_UNSPECIFIED: ArtifactState
ARTIFACT_STATE_FETCHING: ArtifactState
ARTIFACT_STATE_VERIFIED: ArtifactState
ARTIFACT_STATE_BAD: ArtifactState
DEPLOYMENT_STATE_UNSPECIFIED: DeploymentState
DEPLOYMENT_STATE_PENDING: DeploymentState
DEPLOYMENT_STATE_FETCHED: DeploymentState
DEPLOYMENT_STATE_VERIFIED: DeploymentState
DEPLOYMENT_STATE_SELF_TESTED: DeploymentState
DEPLOYMENT_STATE_ACTIVATED: DeploymentState
DEPLOYMENT_STATE_COMMITTED: DeploymentState
DEPLOYMENT_STATE_ROLLED_BACK: DeploymentState
DEPLOYMENT_STATE_FAILED: DeploymentState
DEPLOYMENT_STATE_CANCELLED: DeploymentState
BENCHMARK_PHASE_UNSPECIFIED: BenchmarkPhase
BENCHMARK_PHASE_QUEUED: BenchmarkPhase
BENCHMARK_PHASE_RUNNING: BenchmarkPhase
BENCHMARK_PHASE_FINISHED: BenchmarkPhase
BENCHMARK_PHASE_FAILED: BenchmarkPhase

class EnvelopeSignature(_message.Message):
    __slots__ = ("key_id", "signature")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    signature: bytes
    def __init__(self, key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class SignedEnvelope(_message.Message):
    __slots__ = ("payload_type", "payload", "signatures")
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    payload_type: str
    payload: bytes
    signatures: _containers.RepeatedCompositeFieldContainer[EnvelopeSignature]
    def __init__(self, payload_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., signatures: _Optional[_Iterable[_Union[EnvelopeSignature, _Mapping]]] = ...) -> None: ...

class Slo(_message.Message):
    __slots__ = ("latency_ns", "percentile")
    LATENCY_NS_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    latency_ns: int
    percentile: float
    def __init__(self, latency_ns: _Optional[int] = ..., percentile: _Optional[float] = ...) -> None: ...

class Rung(_message.Message):
    __slots__ = ("configuration", "p50_ns", "p95_ns", "quality", "peak_memory_bytes", "mean_ns")
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    P50_NS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEAN_NS_FIELD_NUMBER: _ClassVar[int]
    configuration: _benchmark_pb2.Configuration
    p50_ns: int
    p95_ns: int
    quality: float
    peak_memory_bytes: int
    mean_ns: int
    def __init__(self, configuration: _Optional[_Union[_benchmark_pb2.Configuration, _Mapping]] = ..., p50_ns: _Optional[int] = ..., p95_ns: _Optional[int] = ..., quality: _Optional[float] = ..., peak_memory_bytes: _Optional[int] = ..., mean_ns: _Optional[int] = ...) -> None: ...

class ServingGrant(_message.Message):
    __slots__ = ("deployment_id", "ladder", "slo", "pinned_variant_id", "http_port", "grpc_port", "deadline_ns", "is_committed")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    LADDER_FIELD_NUMBER: _ClassVar[int]
    SLO_FIELD_NUMBER: _ClassVar[int]
    PINNED_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    HTTP_PORT_FIELD_NUMBER: _ClassVar[int]
    GRPC_PORT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_NS_FIELD_NUMBER: _ClassVar[int]
    IS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    ladder: _containers.RepeatedCompositeFieldContainer[Rung]
    slo: Slo
    pinned_variant_id: str
    http_port: int
    grpc_port: int
    deadline_ns: int
    is_committed: bool
    def __init__(self, deployment_id: _Optional[str] = ..., ladder: _Optional[_Iterable[_Union[Rung, _Mapping]]] = ..., slo: _Optional[_Union[Slo, _Mapping]] = ..., pinned_variant_id: _Optional[str] = ..., http_port: _Optional[int] = ..., grpc_port: _Optional[int] = ..., deadline_ns: _Optional[int] = ..., is_committed: bool = ...) -> None: ...

class DesiredModel(_message.Message):
    __slots__ = ("model_id", "model_version", "manifests", "serving")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    model_version: int
    manifests: _containers.RepeatedCompositeFieldContainer[SignedEnvelope]
    serving: ServingGrant
    def __init__(self, model_id: _Optional[str] = ..., model_version: _Optional[int] = ..., manifests: _Optional[_Iterable[_Union[SignedEnvelope, _Mapping]]] = ..., serving: _Optional[_Union[ServingGrant, _Mapping]] = ...) -> None: ...

class DesiredState(_message.Message):
    __slots__ = ("fleet_id", "device_id", "epoch", "version", "issued_at_ns", "models", "benchmarks", "loads")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    BENCHMARKS_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    device_id: str
    epoch: int
    version: int
    issued_at_ns: int
    models: _containers.RepeatedCompositeFieldContainer[DesiredModel]
    benchmarks: _containers.RepeatedCompositeFieldContainer[_benchmark_pb2.BenchmarkRequest]
    loads: _containers.RepeatedCompositeFieldContainer[_benchmark_pb2.LoadRequest]
    def __init__(self, fleet_id: _Optional[str] = ..., device_id: _Optional[str] = ..., epoch: _Optional[int] = ..., version: _Optional[int] = ..., issued_at_ns: _Optional[int] = ..., models: _Optional[_Iterable[_Union[DesiredModel, _Mapping]]] = ..., benchmarks: _Optional[_Iterable[_Union[_benchmark_pb2.BenchmarkRequest, _Mapping]]] = ..., loads: _Optional[_Iterable[_Union[_benchmark_pb2.LoadRequest, _Mapping]]] = ...) -> None: ...

class ReportedArtifact(_message.Message):
    __slots__ = ("sha256", "state", "fetched_bytes", "size_bytes", "reason")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FETCHED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    state: ArtifactState
    fetched_bytes: int
    size_bytes: int
    reason: str
    def __init__(self, sha256: _Optional[str] = ..., state: _Optional[_Union[ArtifactState, str]] = ..., fetched_bytes: _Optional[int] = ..., size_bytes: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ReportedServing(_message.Message):
    __slots__ = ("model_id", "deployment_id", "state", "reason", "active_variant_id", "resident_variant_ids", "http_port", "grpc_port")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_VARIANT_IDS_FIELD_NUMBER: _ClassVar[int]
    HTTP_PORT_FIELD_NUMBER: _ClassVar[int]
    GRPC_PORT_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    deployment_id: str
    state: DeploymentState
    reason: str
    active_variant_id: str
    resident_variant_ids: _containers.RepeatedScalarFieldContainer[str]
    http_port: int
    grpc_port: int
    def __init__(self, model_id: _Optional[str] = ..., deployment_id: _Optional[str] = ..., state: _Optional[_Union[DeploymentState, str]] = ..., reason: _Optional[str] = ..., active_variant_id: _Optional[str] = ..., resident_variant_ids: _Optional[_Iterable[str]] = ..., http_port: _Optional[int] = ..., grpc_port: _Optional[int] = ...) -> None: ...

class ReportedBenchmark(_message.Message):
    __slots__ = ("request_id", "attempt", "phase", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: int
    phase: BenchmarkPhase
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., phase: _Optional[_Union[BenchmarkPhase, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ReportedState(_message.Message):
    __slots__ = ("device_id", "epoch", "desired_version", "boot_id", "is_converged", "artifacts", "serving", "benchmarks", "reason", "at_ns", "loads")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DESIRED_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    IS_CONVERGED_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    BENCHMARKS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    epoch: int
    desired_version: int
    boot_id: str
    is_converged: bool
    artifacts: _containers.RepeatedCompositeFieldContainer[ReportedArtifact]
    serving: _containers.RepeatedCompositeFieldContainer[ReportedServing]
    benchmarks: _containers.RepeatedCompositeFieldContainer[ReportedBenchmark]
    reason: str
    at_ns: int
    loads: _containers.RepeatedCompositeFieldContainer[ReportedBenchmark]
    def __init__(self, device_id: _Optional[str] = ..., epoch: _Optional[int] = ..., desired_version: _Optional[int] = ..., boot_id: _Optional[str] = ..., is_converged: bool = ..., artifacts: _Optional[_Iterable[_Union[ReportedArtifact, _Mapping]]] = ..., serving: _Optional[_Iterable[_Union[ReportedServing, _Mapping]]] = ..., benchmarks: _Optional[_Iterable[_Union[ReportedBenchmark, _Mapping]]] = ..., reason: _Optional[str] = ..., at_ns: _Optional[int] = ..., loads: _Optional[_Iterable[_Union[ReportedBenchmark, _Mapping]]] = ...) -> None: ...
