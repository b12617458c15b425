"""Desired and reported state. Mirrors v1/state.proto, which documents the fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from muster_protos.model.benchmark import BenchmarkRequest, Configuration, LoadRequest


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One Ed25519 signature and the key that made it."""

    key_id: str = ""
    signature: bytes = b""  # Ed25519 over payload_type, NUL, payload


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """Signed bytes travel and are stored verbatim, never re-encoded."""

    payload_type: str = ""  # "muster.v1.DesiredState", "muster.v1.VariantManifest"
    payload: bytes = b""
    signatures: tuple[EnvelopeSignature, ...] = ()


@dataclass(frozen=True, slots=True)
class Slo:
    """The service-level objective of one served model."""

    latency_ns: int = 0  # a request answered later has missed
    percentile: float = 0.0  # the share that must be in time, percent: 95


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder: a configuration and what it measured on this very device."""

    configuration: Configuration = Configuration()
    p50_ns: int = 0  # benchmarked on this device, idle
    p95_ns: int = 0
    quality: float | None = None  # accuracy, or agreement where the policy allows it
    peak_memory_bytes: int | None = None
    mean_ns: int | None = None  # above p50 where a CPU quota or a hot chip cuts in


@dataclass(frozen=True, slots=True)
class ServingGrant:
    """What the controller lets a device serve; the guard moves only within its ladder."""

    deployment_id: str = ""
    ladder: tuple[Rung, ...] = ()  # best to cheapest
    slo: Slo = Slo()
    pinned_variant_id: str = ""  # empty = the guard decides
    http_port: int = 0  # 0 = the agent picks and reports
    grpc_port: int = 0
    deadline_ns: int = 0  # wall clock; silence after it is failure; 0 = none
    is_committed: bool = False  # the controller has seen it healthy


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """The variants to hold of one model and, when granted, how to serve it."""

    model_id: str = ""
    model_version: int = 0
    manifests: tuple[SignedEnvelope, ...] = ()  # variants to hold in the cache
    serving: ServingGrant | None = None


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything one device should be; only a higher (epoch, version) replaces it."""

    fleet_id: str = ""
    device_id: str = ""
    epoch: int = 0  # rises when a fleet is restored from a backup
    version: int = 0
    issued_at_ns: int = 0
    models: tuple[DesiredModel, ...] = ()
    benchmarks: tuple[BenchmarkRequest, ...] = ()
    loads: tuple[LoadRequest, ...] = ()


class ArtifactState(Enum):
    """Where an artifact is on its way into the cache."""

    UNSPECIFIED = "unspecified"
    FETCHING = "fetching"
    VERIFIED = "verified"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class ReportedArtifact:
    """One artifact in the device cache."""

    sha256: str = ""
    state: ArtifactState = ArtifactState.UNSPECIFIED
    fetched_bytes: int = 0
    size_bytes: int = 0
    reason: str = ""


class DeploymentState(Enum):
    """Where one device's part of a rollout is."""

    UNSPECIFIED = "unspecified"
    PENDING = "pending"
    FETCHED = "fetched"
    VERIFIED = "verified"
    SELF_TESTED = "self_tested"
    ACTIVATED = "activated"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ReportedServing:
    """What the device really serves of one model, and how far its deployment is."""

    model_id: str = ""
    deployment_id: str = ""
    state: DeploymentState = DeploymentState.UNSPECIFIED
    reason: str = ""
    active_variant_id: str = ""
    resident_variant_ids: tuple[str, ...] = ()
    http_port: int = 0
    grpc_port: int = 0


class BenchmarkPhase(Enum):
    """Where a requested benchmark run is."""

    UNSPECIFIED = "unspecified"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReportedBenchmark:
    """How far one requested benchmark run is."""

    request_id: str = ""
    attempt: int = 0
    phase: BenchmarkPhase = BenchmarkPhase.UNSPECIFIED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReportedState:
    """What the device says of itself in answer to a desired state."""

    device_id: str = ""
    epoch: int = 0
    desired_version: int = 0  # the newest verified one
    boot_id: str = ""
    is_converged: bool = False
    artifacts: tuple[ReportedArtifact, ...] = ()
    serving: tuple[ReportedServing, ...] = ()
    benchmarks: tuple[ReportedBenchmark, ...] = ()
    reason: str = ""  # why it is not converged, "" when it is
    at_ns: int = 0
    loads: tuple[ReportedBenchmark, ...] = ()
