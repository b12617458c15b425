from muster_protos.v1 import link_pb2 as _link_pb2
from muster_protos.v1 import model_pb2 as _model_pb2
from muster_protos.v1 import state_pb2 as _state_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LocalVariant(_message.Message):
    __slots__ = ("manifest", "path", "golden_path")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_PATH_FIELD_NUMBER: _ClassVar[int]
    manifest: _model_pb2.VariantManifest
    path: str
    golden_path: str
    def __init__(self, manifest: _Optional[_Union[_model_pb2.VariantManifest, _Mapping]] = ..., path: _Optional[str] = ..., golden_path: _Optional[str] = ...) -> None: ...

class LocalGrant(_message.Message):
    __slots__ = ("grant", "model_id", "signature", "variants", "memory_limit_bytes")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    grant: _state_pb2.ServingGrant
    model_id: str
    signature: _model_pb2.Signature
    variants: _containers.RepeatedCompositeFieldContainer[LocalVariant]
    memory_limit_bytes: int
    def __init__(self, grant: _Optional[_Union[_state_pb2.ServingGrant, _Mapping]] = ..., model_id: _Optional[str] = ..., signature: _Optional[_Union[_model_pb2.Signature, _Mapping]] = ..., variants: _Optional[_Iterable[_Union[LocalVariant, _Mapping]]] = ..., memory_limit_bytes: _Optional[int] = ...) -> None: ...

class LocalCap(_message.Message):
    __slots__ = ("highest_rung", "reason")
    HIGHEST_RUNG_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    highest_rung: int
    reason: str
    def __init__(self, highest_rung: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class LocalStop(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class LocalHello(_message.Message):
    __slots__ = ("model_id", "pid", "is_child")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    IS_CHILD_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    pid: int
    is_child: bool
    def __init__(self, model_id: _Optional[str] = ..., pid: _Optional[int] = ..., is_child: bool = ...) -> None: ...

class LocalReady(_message.Message):
    __slots__ = ("deployment_id", "active_variant_id", "resident_variant_ids", "http_port", "grpc_port")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_VARIANT_IDS_FIELD_NUMBER: _ClassVar[int]
    HTTP_PORT_FIELD_NUMBER: _ClassVar[int]
    GRPC_PORT_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    active_variant_id: str
    resident_variant_ids: _containers.RepeatedScalarFieldContainer[str]
    http_port: int
    grpc_port: int
    def __init__(self, deployment_id: _Optional[str] = ..., active_variant_id: _Optional[str] = ..., resident_variant_ids: _Optional[_Iterable[str]] = ..., http_port: _Optional[int] = ..., grpc_port: _Optional[int] = ...) -> None: ...

class LocalFailed(_message.Message):
    __slots__ = ("deployment_id", "variant_id", "reason")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    variant_id: str
    reason: str
    def __init__(self, deployment_id: _Optional[str] = ..., variant_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class LocalStatus(_message.Message):
    __slots__ = ("active_variant_id", "resident_variant_ids", "answered", "failed", "shed", "slo_missed", "p50_ns", "p95_ns", "requests_per_s", "queue_length", "slowdown_ratio")
    ACTIVE_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_VARIANT_IDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    SLO_MISSED_FIELD_NUMBER: _ClassVar[int]
    P50_NS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SLOWDOWN_RATIO_FIELD_NUMBER: _ClassVar[int]
    active_variant_id: str
    resident_variant_ids: _containers.RepeatedScalarFieldContainer[str]
    answered: int
    failed: int
    shed: int
    slo_missed: int
    p50_ns: int
    p95_ns: int
    requests_per_s: float
    queue_length: int
    slowdown_ratio: float
    def __init__(self, active_variant_id: _Optional[str] = ..., resident_variant_ids: _Optional[_Iterable[str]] = ..., answered: _Optional[int] = ..., failed: _Optional[int] = ..., shed: _Optional[int] = ..., slo_missed: _Optional[int] = ..., p50_ns: _Optional[int] = ..., p95_ns: _Optional[int] = ..., requests_per_s: _Optional[float] = ..., queue_length: _Optional[int] = ..., slowdown_ratio: _Optional[float] = ...) -> None: ...

class LocalMessage(_message.Message):
    __slots__ = ("local_grant", "local_cap", "local_stop", "local_hello", "local_ready", "local_failed", "local_status", "event")
    LOCAL_GRANT_FIELD_NUMBER: _ClassVar[int]
    LOCAL_CAP_FIELD_NUMBER: _ClassVar[int]
    LOCAL_STOP_FIELD_NUMBER: _ClassVar[int]
    LOCAL_HELLO_FIELD_NUMBER: _ClassVar[int]
    LOCAL_READY_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FAILED_FIELD_NUMBER: _ClassVar[int]
    LOCAL_STATUS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    local_grant: LocalGrant
    local_cap: LocalCap
    local_stop: LocalStop
    local_hello: LocalHello
    local_ready: LocalReady
    local_failed: LocalFailed
    local_status: LocalStatus
    event: _link_pb2.Event
    def __init__(self, local_grant: _Optional[_Union[LocalGrant, _Mapping]] = ..., local_cap: _Optional[_Union[LocalCap, _Mapping]] = ..., local_stop: _Optional[_Union[LocalStop, _Mapping]] = ..., local_hello: _Optional[_Union[LocalHello, _Mapping]] = ..., local_ready: _Optional[_Union[LocalReady, _Mapping]] = ..., local_failed: _Optional[_Union[LocalFailed, _Mapping]] = ..., local_status: _Optional[_Union[LocalStatus, _Mapping]] = ..., event: _Optional[_Union[_link_pb2.Event, _Mapping]] = ...) -> None: ...
