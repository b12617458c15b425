"""What the controller keeps: one frozen dataclass per noun.

Times are wall-clock ns since 1970 (UTC). The store maps these to rows, REST serialises them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from muster_protos.model import (
    Accuracy,
    ArtifactRef,
    BenchmarkRequest,
    Configuration,
    DeploymentState,
    Inventory,
    LoadRequest,
    LoadResult,
    ReportedState,
    ServingGrant,
    Signature,
    SignedEnvelope,
    Slo,
    Tier,
    VariantManifest,
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The one fleet of a store; ``epoch`` rises when it is restored from a backup."""

    fleet_id: str
    name: str
    epoch: int
    created_at_ns: int


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join secret, kept only as its sha256."""

    token_id: str
    secret_sha256: str
    created_at_ns: int
    expires_at_ns: int
    uses_left: int
    is_revoked: bool = False
    note: str = ""


class Presence(Enum):
    """What the links last said of a device."""

    NEVER = "never"
    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Device:
    """A joined device. ``name`` is a free label for people; the id never changes."""

    device_id: str
    name: str
    joined_at_ns: int
    certificate_serial: str
    public_key_sha256: str
    inventory: Inventory
    labels: Mapping[str, str] = field(default_factory=dict)
    presence: Presence = Presence.NEVER
    link: str = ""  # "grpc", "mqtt"
    last_seen_ns: int = 0
    is_revoked: bool = False
    reported: ReportedState | None = None
    replaced_at_ns: int = 0  # when other hardware took the id over: what is older speaks for the old one; 0 = never
    cloned_at_ns: int = 0  # when two agents were last seen to share its identity; 0 = never
    clock_offset_ns: int = 0  # how far its own clock was ahead of the controller's when it last said hello


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a device is let in."""

    public_key_sha256: str
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model: its face and the data that judge it."""

    model_id: str
    version: int
    signature: Signature
    created_at_ns: int
    source: str = ""  # what the user handed in, for people
    evaluation: ArtifactRef | None = None
    is_labelled: bool = False  # the evaluation set has labels, so accuracy exists


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant as the controller keeps it: the manifest and the signed bytes of it."""

    manifest: VariantManifest
    envelope: SignedEnvelope
    is_kept: bool = True
    dropped_reason: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """These variants of this model version belong into this device's cache."""

    device_id: str
    model_id: str
    model_version: int
    variant_ids: tuple[str, ...]


class RequestState(Enum):
    """Where one benchmark request is, seen from the controller."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A benchmark request for one device, part of a run."""

    run_id: str
    device_id: str
    model_id: str
    model_version: int
    request: BenchmarkRequest
    state: RequestState = RequestState.OPEN
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """What one ``bench run`` asked for."""

    run_id: str
    model_id: str
    model_version: int
    tier: Tier
    created_at_ns: int
    device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """A load that a device was asked to put on itself, and what came back; ``load_id`` is the request's id."""

    load_id: str
    device_id: str
    request: LoadRequest
    created_at_ns: int
    state: RequestState = RequestState.OPEN
    reason: str = ""
    result: LoadResult | None = None


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it came in; ``payload`` is the encoded ``Report``. The first four fields are its key."""

    device_id: str
    request_id: str
    attempt: int
    sequence: int
    payload: bytes
    received_at_ns: int
    rejected_reason: str = ""  # quarantined: kept, never used


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration in a decision and what became of it."""

    configuration: Configuration
    record_id: str
    quality: float | None
    quality_kind: str  # "accuracy", "agreement", "none"
    p50_ms: float | None
    p95_ms: float | None
    p95_upper_ms: float | None
    peak_memory_mib: float | None
    energy_mj: float | None
    size_mib: float | None
    is_feasible: bool
    verdict: str  # "chosen", "ladder", or what ruled it out
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()  # what to know of the figures: "noisy: ...", "tier demo", "accuracy from the host"
    mean_ms: float | None = None  # of the latency: what a queue feels


@dataclass(frozen=True, slots=True)
class Decision:
    """Why this device gets this configuration; never changed after it is stored."""

    decision_id: str
    device_id: str
    model_id: str
    model_version: int
    policy_yaml: str
    created_at_ns: int
    chosen: Configuration | None
    ladder: tuple[Configuration, ...]
    candidates: tuple[Candidate, ...]
    nearest_miss: str = ""  # set when nothing was feasible
    slo: Slo | None = None
    is_emulated: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """One device's part of a rollout."""

    deployment_id: str
    rollout_id: str
    device_id: str
    model_id: str
    model_version: int
    decision_id: str
    grant: ServingGrant
    wave: int
    state: DeploymentState
    reason: str
    updated_at_ns: int
    started_at_ns: int = 0  # 0 = its wave has not been started; the newest started one is in force


class RolloutState(Enum):
    """Where a rollout is."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Waves of deployments; ``active_wave`` is the last one that was started."""

    rollout_id: str
    model_id: str
    model_version: int
    state: RolloutState
    reason: str
    created_at_ns: int
    waves: tuple[tuple[str, ...], ...]  # device ids
    active_wave: int
    deadline_s: int
    error_threshold_ratio: float
    success_threshold_ratio: float = 1.0  # share of a wave that must be committed before the next one starts
    pauses_after_wave: bool = False  # wait for a person after each wave


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """The policy that decides for a model whenever results arrive; what `apply:` says is in the YAML."""

    model_id: str
    policy_yaml: str
    updated_at_ns: int


class OperationState(Enum):
    """Where long work on the host is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Operation:
    """Long work on the host (compress, import) that a person may wait for."""

    operation_id: str
    kind: str
    subject: str
    state: OperationState
    progress_ratio: float
    note: str
    reason: str
    created_at_ns: int
    finished_at_ns: int = 0
    failure: str = ""  # "missing_extra" where an optional part is not installed


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """Something that happened: on a device (then ``device_id`` is set) or in the controller."""

    event_id: str
    kind: str
    at_ns: int
    device_id: str = ""
    model_id: str = ""
    from_variant_id: str = ""
    to_variant_id: str = ""
    direction: str = ""
    reason: str = ""
    duration_ms: float | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0  # position in the store's feed, set by the store


@dataclass(frozen=True, slots=True)
class DesiredRow:
    """The newest desired state of a device, as signed."""

    device_id: str
    epoch: int
    version: int
    content_sha256: str  # over the unsigned content without version and time, to see that nothing changed
    envelope: SignedEnvelope
