"""Benchmark requests and records. Mirrors v1/benchmark.proto, which documents the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from muster_protos.model.device import Emulation
from muster_protos.model.model import Accuracy, ArtifactRef, Format


class Tier(Enum):
    """How long a benchmark run lasts."""

    UNSPECIFIED = "unspecified"
    QUICK = "quick"  # >= 64 queries and >= 5 s
    STANDARD = "standard"  # >= 1,024 queries and >= 60 s
    CERTIFY = "certify"  # >= 4,096 queries and >= 600 s
    DEMO = "demo"  # 1 s; for demonstrations only


class Scenario(Enum):
    """How queries arrive; the scenarios of MLPerf LoadGen."""

    UNSPECIFIED = "unspecified"
    SINGLE_STREAM = "single_stream"
    MULTI_STREAM = "multi_stream"
    OFFLINE = "offline"
    SERVER = "server"


class RecordState(Enum):
    """Whether a record may be believed; reasons say why not."""

    UNSPECIFIED = "unspecified"
    VALID = "valid"
    TAGGED_NOISY = "tagged_noisy"
    THROTTLED = "throttled"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Configuration:
    """variant x runtime x provider x threads: what is measured, chosen and put on a rung."""

    variant_id: str = ""
    runtime: str = ""
    provider: str = ""
    threads: int = 0


@dataclass(frozen=True, slots=True)
class BenchmarkRequest:
    """A run that the controller wants from a device."""

    request_id: str = ""
    attempt: int = 0
    configuration: Configuration = Configuration()
    tier: Tier = Tier.UNSPECIFIED
    scenario: Scenario = Scenario.UNSPECIFIED
    percentiles: tuple[float, ...] = ()  # the ones the policy names, in (0, 100)
    seed: int = 0
    deadline_ms: int = 0  # wall time the child may take


@dataclass(frozen=True, slots=True)
class Build:
    """What executed the run."""

    agent_version: str = ""
    commit: str = ""
    runtime: str = ""
    runtime_version: str = ""
    provider: str = ""
    threads: int = 0
    affinity: tuple[int, ...] = ()
    python_version: str = ""
    library_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The device as it was during the run."""

    device_id: str = ""
    device_class: str = ""
    soc: str = ""
    cpu_model: str = ""
    cores: int = 0
    ram_bytes: int | None = None
    os: str = ""
    kernel: str = ""
    accelerator: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """What was asked of the variant."""

    scenario: Scenario = Scenario.UNSPECIFIED
    rate_hz: float | None = None
    batch: int = 0
    data_sha256: str = ""
    inputs: int = 0  # distinct inputs rotated through
    seed: int = 0
    tier: Tier = Tier.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Validity:
    """Which of the rules of a valid run were met."""

    min_duration_met: bool = False
    min_queries_met: bool = False
    early_stopping_met: bool = False
    overhead_ok: bool = False
    preflight_ok: bool = False
    repetition_cv: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Order statistics of one run, all in ns; an unsupported percentile is None."""

    n: int = 0
    min: int = 0  # all figures in ns
    mean: float = 0.0
    std: float = 0.0
    mad: float = 0.0
    p50: int = 0
    p50_ci_low: int | None = None  # 95 %, order statistics
    p50_ci_high: int | None = None
    p90: int | None = None  # null when the sample cannot support it
    p90_ci_low: int | None = None
    p90_ci_high: int | None = None
    p95: int | None = None
    p99: int | None = None
    p999: int | None = None
    outliers_mild: int = 0  # Tukey 1.5 IQR, labelled, never dropped
    outliers_severe: int = 0  # Tukey 3 IQR
    burst_p50: int | None = None
    sustained_p50: int | None = None
    null_overhead: int | None = None  # p50 of the null model through the same loop
    p95_ci_low: int | None = None
    p95_ci_high: int | None = None


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Median ns of each phase from spawn to the first inference."""

    spawn: int = 0  # ns, median over the spawns
    import_runtime: int = 0
    load: int = 0
    first_inference: int = 0
    spawns: int = 0
    page_cache: str = ""  # "warm", "cold", "unknown"


@dataclass(frozen=True, slots=True)
class Memory:
    """The child's memory in bytes; peak is VmHWM."""

    baseline: int | None = None  # bytes
    peak_hwm: int | None = None
    peak_net: int | None = None
    pss_steady: int | None = None
    file: int | None = None


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy per inference, or the reason why it is unknown."""

    method: str = ""  # "meter", "counter", "battery", "model", "none"
    sample_hz: float | None = None
    idle_mw_before: float | None = None
    idle_mw_after: float | None = None
    gross_mj: float | None = None  # per inference
    net_mj: float | None = None
    ci_low_mj: float | None = None
    ci_high_mj: float | None = None
    unavailable_reason: str = ""


@dataclass(frozen=True, slots=True)
class Thermal:
    """Temperature and frequency over the run."""

    start_celsius: float | None = None
    end_celsius: float | None = None
    max_celsius: float | None = None
    throttle_flags: tuple[str, ...] = ()
    freq_start_hz: int | None = None
    freq_end_hz: int | None = None
    unavailable_reason: str = ""


@dataclass(frozen=True, slots=True)
class Pressure:
    """/proc/pressure "some avg10", percent."""

    cpu_before: float | None = None
    cpu_after: float | None = None
    memory_before: float | None = None
    memory_after: float | None = None
    io_before: float | None = None
    io_after: float | None = None
    load_before: float | None = None
    load_after: float | None = None
    unavailable_reason: str = ""


@dataclass(frozen=True, slots=True)
class BenchmarkRecord:
    """One benchmark run with its provenance; schema_version 1."""

    schema_version: int = 0
    record_id: str = ""
    request_id: str = ""
    attempt: int = 0
    sequence: int = 0
    boot_id: str = ""
    started_at_ns: int = 0
    finished_at_ns: int = 0
    state: RecordState = RecordState.UNSPECIFIED
    reasons: tuple[str, ...] = ()
    emulation: Emulation | None = None
    device: DeviceFacts = DeviceFacts()
    build: Build = Build()
    configuration: Configuration = Configuration()
    model_id: str = ""
    model_version: int = 0
    artifact: ArtifactRef = ArtifactRef()
    format: Format = Format.UNSPECIFIED
    precision: str = ""  # read from the tensors
    workload: Workload = Workload()
    validity: Validity = Validity()
    latency: Latency | None = None  # absent when the run failed; reasons say why
    cold_start: ColdStart | None = None
    throughput_ips: float | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    thermal: Thermal | None = None
    pressure: Pressure | None = None
    accuracy: Accuracy | None = None
    latency_sketch: bytes = b""  # mergeable log-bucket histogram, codec in muster_bench.sketch
    warmup_queries: int = 0


@dataclass(frozen=True, slots=True)
class LoadPhase:
    """A stretch of Poisson arrivals at ``rate_hz``, or of a closed loop with ``concurrency`` requests under way."""

    rate_hz: float = 0.0
    duration_ms: int = 0
    concurrency: int = 0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A load that the device puts on itself: requests to its serving process and, or, busy cores."""

    request_id: str = ""
    attempt: int = 0
    model_id: str = ""  # empty = only busy cores
    phases: tuple[LoadPhase, ...] = ()
    seed: int = 0
    cpu_ratio: float = 0.0  # share of all usable cores kept busy, 0..1
    expires_at_ns: int = 0  # wall clock; not started after it


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came back; latency counts from the scheduled arrival (no coordinated omission)."""

    request_id: str = ""
    attempt: int = 0
    model_id: str = ""
    started_at_ns: int = 0
    finished_at_ns: int = 0
    offered: int = 0
    answered: int = 0
    failed: int = 0  # an error that is not shedding
    shed: int = 0  # refused at once because it could not finish in time
    slo_missed: int = 0  # late, failed or shed
    p50_ns: int | None = None
    p95_ns: int | None = None
    p99_ns: int | None = None
    answered_by: Mapping[str, int] = field(default_factory=dict)  # variant id -> requests
    reason: str = ""  # why it ended early, "" = it did not
    emulation: Emulation | None = None
