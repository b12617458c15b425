from muster_protos.v1 import device_pb2 as _device_pb2
from muster_protos.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_QUICK: _ClassVar[Tier]
    TIER_STANDARD: _ClassVar[Tier]
    TIER_CERTIFY: _ClassVar[Tier]
    TIER_DEMO: _ClassVar[Tier]

class Scenario(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCENARIO_UNSPECIFIED: _ClassVar[Scenario]
    SCENARIO_SINGLE_STREAM: _ClassVar[Scenario]
    SCENARIO_MULTI_STREAM: _ClassVar[Scenario]
    SCENARIO_OFFLINE: _ClassVar[Scenario]
    SCENARIO_SERVER: _ClassVar[Scenario]

class RecordState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORD_STATE_UNSPECIFIED: _ClassVar[RecordState]
    RECORD_STATE_VALID: _ClassVar[RecordState]
    RECORD_STATE_TAGGED_NOISY: _ClassVar[RecordState]
    RECORD_STATE_THROTTLED: _ClassVar[RecordState]
    RECORD_STATE_INVALID: _ClassVar[RecordState]
TIER_UNSPECIFIED: Tier
TIER_QUICK: Tier
TIER_STANDARD: Tier
TIER_CERTIFY: Tier
TIER_DEMO: Tier
SCENARIO_UNSPECIFIED: Scenario
SCENARIO_SINGLE_STREAM: Scenario
SCENARIO_MULTI_STREAM: Scenario
SCENARIO_OFFLINE: Scenario
SCENARIO_SERVER: Scenario
RECORD_STATE_UNSPECIFIED: RecordState
RECORD_STATE_VALID: RecordState
RECORD_STATE_TAGGED_NOISY: RecordState
RECORD_STATE_THROTTLED: RecordState
RECORD_STATE_INVALID: RecordState

class Configuration(_message.Message):
    __slots__ = ("variant_id", "runtime", "provider", "threads")
    VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    variant_id: str
    runtime: str
    provider: str
    threads: int
    def __init__(self, variant_id: _Optional[str] = ..., runtime: _Optional[str] = ..., provider: _Optional[str] = ..., threads: _Optional[int] = ...) -> None: ...

class BenchmarkRequest(_message.Message):
    __slots__ = ("request_id", "attempt", "configuration", "tier", "scenario", "percentiles", "seed", "deadline_ms")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    PERCENTILES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: int
    configuration: Configuration
    tier: Tier
    scenario: Scenario
    percentiles: _containers.RepeatedScalarFieldContainer[float]
    seed: int
    deadline_ms: int
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., tier: _Optional[_Union[Tier, str]] = ..., scenario: _Optional[_Union[Scenario, str]] = ..., percentiles: _Optional[_Iterable[float]] = ..., seed: _Optional[int] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class Build(_message.Message):
    __slots__ = ("agent_version", "commit", "runtime", "runtime_version", "provider", "threads", "affinity", "python_version", "library_versions")
    class LibraryVersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    commit: str
    runtime: str
    runtime_version: str
    provider: str
    threads: int
    affinity: _containers.RepeatedScalarFieldContainer[int]
    python_version: str
    library_versions: _containers.ScalarMap[str, str]
    def __init__(self, agent_version: _Optional[str] = ..., commit: _Optional[str] = ..., runtime: _Optional[str] = ..., runtime_version: _Optional[str] = ..., provider: _Optional[str] = ..., threads: _Optional[int] = ..., affinity: _Optional[_Iterable[int]] = ..., python_version: _Optional[str] = ..., library_versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DeviceFacts(_message.Message):
    __slots__ = ("device_id", "device_class", "soc", "cpu_model", "cores", "ram_bytes", "os", "kernel", "accelerator")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    SOC_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    RAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    device_class: str
    soc: str
    cpu_model: str
    cores: int
    ram_bytes: int
    os: str
    kernel: str
    accelerator: str
    def __init__(self, device_id: _Optional[str] = ..., device_class: _Optional[str] = ..., soc: _Optional[str] = ..., cpu_model: _Optional[str] = ..., cores: _Optional[int] = ..., ram_bytes: _Optional[int] = ..., os: _Optional[str] = ..., kernel: _Optional[str] = ..., accelerator: _Optional[str] = ...) -> None: ...

class Workload(_message.Message):
    __slots__ = ("scenario", "rate_hz", "batch", "data_sha256", "inputs", "seed", "tier")
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    DATA_SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    scenario: Scenario
    rate_hz: float
    batch: int
    data_sha256: str
    inputs: int
    seed: int
    tier: Tier
    def __init__(self, scenario: _Optional[_Union[Scenario, str]] = ..., rate_hz: _Optional[float] = ..., batch: _Optional[int] = ..., data_sha256: _Optional[str] = ..., inputs: _Optional[int] = ..., seed: _Optional[int] = ..., tier: _Optional[_Union[Tier, str]] = ...) -> None: ...

class Validity(_message.Message):
    __slots__ = ("min_duration_met", "min_queries_met", "early_stopping_met", "overhead_ok", "preflight_ok", "repetition_cv")
    MIN_DURATION_MET_FIELD_NUMBER: _ClassVar[int]
    MIN_QUERIES_MET_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_MET_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_OK_FIELD_NUMBER: _ClassVar[int]
    PREFLIGHT_OK_FIELD_NUMBER: _ClassVar[int]
    REPETITION_CV_FIELD_NUMBER: _ClassVar[int]
    min_duration_met: bool
    min_queries_met: bool
    early_stopping_met: bool
    overhead_ok: bool
    preflight_ok: bool
    repetition_cv: float
    def __init__(self, min_duration_met: bool = ..., min_queries_met: bool = ..., early_stopping_met: bool = ..., overhead_ok: bool = ..., preflight_ok: bool = ..., repetition_cv: _Optional[float] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("n", "min", "mean", "std", "mad", "p50", "p50_ci_low", "p50_ci_high", "p90", "p90_ci_low", "p90_ci_high", "p95", "p99", "p999", "outliers_mild", "outliers_severe", "burst_p50", "sustained_p50", "null_overhead", "p95_ci_low", "p95_ci_high")
    N_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    MAD_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P50_CI_LOW_FIELD_NUMBER: _ClassVar[int]
    P50_CI_HIGH_FIELD_NUMBER: _ClassVar[int]
    P90_FIELD_NUMBER: _ClassVar[int]
    P90_CI_LOW_FIELD_NUMBER: _ClassVar[int]
    P90_CI_HIGH_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    P999_FIELD_NUMBER: _ClassVar[int]
    OUTLIERS_MILD_FIELD_NUMBER: _ClassVar[int]
    OUTLIERS_SEVERE_FIELD_NUMBER: _ClassVar[int]
    BURST_P50_FIELD_NUMBER: _ClassVar[int]
    SUSTAINED_P50_FIELD_NUMBER: _ClassVar[int]
    NULL_OVERHEAD_FIELD_NUMBER: _ClassVar[int]
    P95_CI_LOW_FIELD_NUMBER: _ClassVar[int]
    P95_CI_HIGH_FIELD_NUMBER: _ClassVar[int]
    n: int
    min: int
    mean: float
    std: float
    mad: float
    p50: int
    p50_ci_low: int
    p50_ci_high: int
    p90: int
    p90_ci_low: int
    p90_ci_high: int
    p95: int
    p99: int
    p999: int
    outliers_mild: int
    outliers_severe: int
    burst_p50: int
    sustained_p50: int
    null_overhead: int
    p95_ci_low: int
    p95_ci_high: int
    def __init__(self, n: _Optional[int] = ..., min: _Optional[int] = ..., mean: _Optional[float] = ..., std: _Optional[float] = ..., mad: _Optional[float] = ..., p50: _Optional[int] = ..., p50_ci_low: _Optional[int] = ..., p50_ci_high: _Optional[int] = ..., p90: _Optional[int] = ..., p90_ci_low: _Optional[int] = ..., p90_ci_high: _Optional[int] = ..., p95: _Optional[int] = ..., p99: _Optional[int] = ..., p999: _Optional[int] = ..., outliers_mild: _Optional[int] = ..., outliers_severe: _Optional[int] = ..., burst_p50: _Optional[int] = ..., sustained_p50: _Optional[int] = ..., null_overhead: _Optional[int] = ..., p95_ci_low: _Optional[int] = ..., p95_ci_high: _Optional[int] = ...) -> None: ...

class ColdStart(_message.Message):
    __slots__ = ("spawn", "import_runtime", "load", "first_inference", "spawns", "page_cache")
    SPAWN_FIELD_NUMBER: _ClassVar[int]
    IMPORT_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    FIRST_INFERENCE_FIELD_NUMBER: _ClassVar[int]
    SPAWNS_FIELD_NUMBER: _ClassVar[int]
    PAGE_CACHE_FIELD_NUMBER: _ClassVar[int]
    spawn: int
    import_runtime: int
    load: int
    first_inference: int
    spawns: int
    page_cache: str
    def __init__(self, spawn: _Optional[int] = ..., import_runtime: _Optional[int] = ..., load: _Optional[int] = ..., first_inference: _Optional[int] = ..., spawns: _Optional[int] = ..., page_cache: _Optional[str] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("baseline", "peak_hwm", "peak_net", "pss_steady", "file")
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    PEAK_HWM_FIELD_NUMBER: _ClassVar[int]
    PEAK_NET_FIELD_NUMBER: _ClassVar[int]
    PSS_STEADY_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    baseline: int
    peak_hwm: int
    peak_net: int
    pss_steady: int
    file: int
    def __init__(self, baseline: _Optional[int] = ..., peak_hwm: _Optional[int] = ..., peak_net: _Optional[int] = ..., pss_steady: _Optional[int] = ..., file: _Optional[int] = ...) -> None: ...

class Energy(_message.Message):
    __slots__ = ("method", "sample_hz", "idle_mw_before", "idle_mw_after", "gross_mj", "net_mj", "ci_low_mj", "ci_high_mj", "unavailable_reason")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_HZ_FIELD_NUMBER: _ClassVar[int]
    IDLE_MW_BEFORE_FIELD_NUMBER: _ClassVar[int]
    IDLE_MW_AFTER_FIELD_NUMBER: _ClassVar[int]
    GROSS_MJ_FIELD_NUMBER: _ClassVar[int]
    NET_MJ_FIELD_NUMBER: _ClassVar[int]
    CI_LOW_MJ_FIELD_NUMBER: _ClassVar[int]
    CI_HIGH_MJ_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    method: str
    sample_hz: float
    idle_mw_before: float
    idle_mw_after: float
    gross_mj: float
    net_mj: float
    ci_low_mj: float
    ci_high_mj: float
    unavailable_reason: str
    def __init__(self, method: _Optional[str] = ..., sample_hz: _Optional[float] = ..., idle_mw_before: _Optional[float] = ..., idle_mw_after: _Optional[float] = ..., gross_mj: _Optional[float] = ..., net_mj: _Optional[float] = ..., ci_low_mj: _Optional[float] = ..., ci_high_mj: _Optional[float] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Thermal(_message.Message):
    __slots__ = ("start_celsius", "end_celsius", "max_celsius", "throttle_flags", "freq_start_hz", "freq_end_hz", "unavailable_reason")
    START_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    END_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    MAX_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_FLAGS_FIELD_NUMBER: _ClassVar[int]
    FREQ_START_HZ_FIELD_NUMBER: _ClassVar[int]
    FREQ_END_HZ_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    start_celsius: float
    end_celsius: float
    max_celsius: float
    throttle_flags: _containers.RepeatedScalarFieldContainer[str]
    freq_start_hz: int
    freq_end_hz: int
    unavailable_reason: str
    def __init__(self, start_celsius: _Optional[float] = ..., end_celsius: _Optional[float] = ..., max_celsius: _Optional[float] = ..., throttle_flags: _Optional[_Iterable[str]] = ..., freq_start_hz: _Optional[int] = ..., freq_end_hz: _Optional[int] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Pressure(_message.Message):
    __slots__ = ("cpu_before", "cpu_after", "memory_before", "memory_after", "io_before", "io_after", "load_before", "load_after", "unavailable_reason")
    CPU_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CPU_AFTER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AFTER_FIELD_NUMBER: _ClassVar[int]
    IO_BEFORE_FIELD_NUMBER: _ClassVar[int]
    IO_AFTER_FIELD_NUMBER: _ClassVar[int]
    LOAD_BEFORE_FIELD_NUMBER: _ClassVar[int]
    LOAD_AFTER_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    cpu_before: float
    cpu_after: float
    memory_before: float
    memory_after: float
    io_before: float
    io_after: float
    load_before: float
    load_after: float
    unavailable_reason: str
    def __init__(self, cpu_before: _Optional[float] = ..., cpu_after: _Optional[float] = ..., memory_before: _Optional[float] = ..., memory_after: _Optional[float] = ..., io_before: _Optional[float] = ..., io_after: _Optional[float] = ..., load_before: _Optional[float] = ..., load_after: _Optional[float] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class BenchmarkRecord(_message.Message):
    __slots__ = ("schema_version", "record_id", "request_id", "attempt", "sequence", "boot_id", "started_at_ns", "finished_at_ns", "state", "reasons", "emulation", "device", "build", "configuration", "model_id", "model_version", "artifact", "format", "precision", "workload", "validity", "latency", "cold_start", "throughput_ips", "memory", "energy", "thermal", "pressure", "accuracy", "latency_sketch", "warmup_queries")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    EMULATION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    VALIDITY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    COLD_START_FIELD_NUMBER: _ClassVar[int]
    THROUGHPUT_IPS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    THERMAL_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_SKETCH_FIELD_NUMBER: _ClassVar[int]
    WARMUP_QUERIES_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    record_id: str
    request_id: str
    attempt: int
    sequence: int
    boot_id: str
    started_at_ns: int
    finished_at_ns: int
    state: RecordState
    reasons: _containers.RepeatedScalarFieldContainer[str]
    emulation: _device_pb2.Emulation
    device: DeviceFacts
    build: Build
    configuration: Configuration
    model_id: str
    model_version: int
    artifact: _model_pb2.ArtifactRef
    format: _model_pb2.Format
    precision: str
    workload: Workload
    validity: Validity
    latency: Latency
    cold_start: ColdStart
    throughput_ips: float
    memory: Memory
    energy: Energy
    thermal: Thermal
    pressure: Pressure
    accuracy: _model_pb2.Accuracy
    latency_sketch: bytes
    warmup_queries: int
    def __init__(self, schema_version: _Optional[int] = ..., record_id: _Optional[str] = ..., request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., sequence: _Optional[int] = ..., boot_id: _Optional[str] = ..., started_at_ns: _Optional[int] = ..., finished_at_ns: _Optional[int] = ..., state: _Optional[_Union[RecordState, str]] = ..., reasons: _Optional[_Iterable[str]] = ..., emulation: _Optional[_Union[_device_pb2.Emulation, _Mapping]] = ..., device: _Optional[_Union[DeviceFacts, _Mapping]] = ..., build: _Optional[_Union[Build, _Mapping]] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., model_id: _Optional[str] = ..., model_version: _Optional[int] = ..., artifact: _Optional[_Union[_model_pb2.ArtifactRef, _Mapping]] = ..., format: _Optional[_Union[_model_pb2.Format, str]] = ..., precision: _Optional[str] = ..., workload: _Optional[_Union[Workload, _Mapping]] = ..., validity: _Optional[_Union[Validity, _Mapping]] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., cold_start: _Optional[_Union[ColdStart, _Mapping]] = ..., throughput_ips: _Optional[float] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., energy: _Optional[_Union[Energy, _Mapping]] = ..., thermal: _Optional[_Union[Thermal, _Mapping]] = ..., pressure: _Optional[_Union[Pressure, _Mapping]] = ..., accuracy: _Optional[_Union[_model_pb2.Accuracy, _Mapping]] = ..., latency_sketch: _Optional[bytes] = ..., warmup_queries: _Optional[int] = ...) -> None: ...

class LoadPhase(_message.Message):
    __slots__ = ("rate_hz", "duration_ms", "concurrency")
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    rate_hz: float
    duration_ms: int
    concurrency: int
    def __init__(self, rate_hz: _Optional[float] = ..., duration_ms: _Optional[int] = ..., concurrency: _Optional[int] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("request_id", "attempt", "model_id", "phases", "seed", "cpu_ratio", "expires_at_ns")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CPU_RATIO_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_NS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: int
    model_id: str
    phases: _containers.RepeatedCompositeFieldContainer[LoadPhase]
    seed: int
    cpu_ratio: float
    expires_at_ns: int
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., model_id: _Optional[str] = ..., phases: _Optional[_Iterable[_Union[LoadPhase, _Mapping]]] = ..., seed: _Optional[int] = ..., cpu_ratio: _Optional[float] = ..., expires_at_ns: _Optional[int] = ...) -> None: ...

class LoadResult(_message.Message):
    __slots__ = ("request_id", "attempt", "model_id", "started_at_ns", "finished_at_ns", "offered", "answered", "failed", "shed", "slo_missed", "p50_ns", "p95_ns", "p99_ns", "answered_by", "reason", "emulation")
    class AnsweredByEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    SLO_MISSED_FIELD_NUMBER: _ClassVar[int]
    P50_NS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    P99_NS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EMULATION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: int
    model_id: str
    started_at_ns: int
    finished_at_ns: int
    offered: int
    answered: int
    failed: int
    shed: int
    slo_missed: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    answered_by: _containers.ScalarMap[str, int]
    reason: str
    emulation: _device_pb2.Emulation
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., model_id: _Optional[str] = ..., started_at_ns: _Optional[int] = ..., finished_at_ns: _Optional[int] = ..., offered: _Optional[int] = ..., answered: _Optional[int] = ..., failed: _Optional[int] = ..., shed: _Optional[int] = ..., slo_missed: _Optional[int] = ..., p50_ns: _Optional[int] = ..., p95_ns: _Optional[int] = ..., p99_ns: _Optional[int] = ..., answered_by: _Optional[_Mapping[str, int]] = ..., reason: _Optional[str] = ..., emulation: _Optional[_Union[_device_pb2.Emulation, _Mapping]] = ...) -> None: ...
