"""What the service needs from the outside. All ports are synchronous and thread-safe; asyncio callers offload them.

Adapters: ``adapters/store_sqlalchemy.py``, ``adapters/artifacts_folder.py``, ``adapters/feed_local.py``,
``adapters/identity_x509``, ``adapters/link_grpc``, ``adapters/link_mqtt``; in-memory ones ship in ``testing.py``. One
contract-test class per port runs over all of its adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from muster_controller.core.entities import (
    BenchmarkRun,
    Decision,
    Deployment,
    DesiredRow,
    Device,
    DeviceLoad,
    DeviceRequest,
    Fleet,
    FleetEvent,
    JoinToken,
    Model,
    ModelPolicy,
    Operation,
    Presence,
    Push,
    RequestState,
    Rollout,
    Standing,
    StoredReport,
    Variant,
)
from muster_protos.envelope import Signer, Verifier
from muster_protos.errors import NotAuthorisedError
from muster_protos.model import (
    AgentMessage,
    BenchmarkRecord,
    ControllerMessage,
    Inventory,
    JoinRequest,
    JoinResponse,
    RenewResponse,
    ReportedState,
    SignedEnvelope,
    SigningKey,
    SigningKeySet,
    Telemetry,
)

__all__ = [
    "ArtifactStore",
    "Authenticator",
    "ChangeFeed",
    "Clock",
    "DeviceRevokedError",
    "DeviceSession",
    "FleetAuthority",
    "Page",
    "Principal",
    "SessionSink",
    "Signer",
    "Store",
    "Verifier",
]

T = TypeVar("T")


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_ns(self) -> int:
        """Wall clock, ns since 1970."""
        ...

    def monotonic_ns(self) -> int:
        """Never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A slice of a list; ``next_cursor`` is empty on the last one."""

    items: tuple[T, ...]
    next_cursor: str = ""


class Store(Protocol):
    """Everything durable except artifact bytes. Unknown ids raise NotFoundError, lost races ConflictError.

    Every list is ordered by id (events: by sequence) and paged: ``cursor`` is the previous page's ``next_cursor``.
    """

    def close(self) -> None: ...
    def snapshot(self) -> AbstractContextManager[None]:
        """Everything that this thread reads in the block is of one moment."""
        ...

    def together(self, write: Callable[[], None]) -> None:
        """One durable transaction of what ``write`` stores, shared with others that wait just now.

        It may run in another thread, and twice: it does nothing but store, neither reports nor telemetry.
        """
        ...

    # fleet
    def fleet(self) -> Fleet | None: ...
    def init_fleet(self, fleet: Fleet) -> None:
        """Store the fleet once; ConflictError when there is one."""
        ...

    # join tokens
    def add_token(self, token: JoinToken) -> None: ...
    def list_tokens(self) -> tuple[JoinToken, ...]: ...
    def revoke_token(self, token_id: str) -> None: ...
    def prune_tokens(self, before_ns: int) -> int:
        """Forget tokens that expired before ``before_ns``, used or not; how many that were."""
        ...

    def use_token(self, secret_sha256: str, now_ns: int) -> JoinToken:
        """Take one use, atomically. NotAuthorisedError says unknown, revoked, expired or used up."""
        ...

    # devices
    def put_device(self, device: Device) -> None:
        """Insert, or replace identity and inventory of the same id (joining twice is the same device)."""
        ...

    def get_device(self, device_id: str) -> Device: ...
    def get_standing(self, device_id: str) -> Standing:
        """A small part of it, which each message's sender is judged by."""
        ...

    def list_devices(
        self, labels: Mapping[str, str] | None = None, cursor: str = "", limit: int = 100
    ) -> Page[Device]: ...
    def revoke_device(self, device_id: str) -> None: ...
    def rename_device(self, device_id: str, name: str) -> None: ...
    def set_labels(self, device_id: str, labels: Mapping[str, str]) -> None: ...
    def get_inventory(self, device_id: str) -> Inventory: ...
    def put_inventory(self, device_id: str, inventory: Inventory, clock_offset_ns: int | None = None) -> None:
        """And how far the device's clock is ahead, where that was measured with it."""
        ...

    def reset_presence(self, at_ns: int) -> None:
        """Whoever is online is offline; ``at_ns`` counts for those of whom nothing was ever seen."""
        ...

    def put_presence(self, device_id: str, presence: Presence, link: str, at_ns: int) -> None: ...
    def put_reported(self, device_id: str, reported: ReportedState, at_ns: int) -> None: ...
    def put_certificate(self, device_id: str, serial: str) -> None:
        """The serial number of its newest certificate; nothing else of the device changes."""
        ...

    def put_clock_offset(self, device_id: str, offset_ns: int) -> None:
        """How far the device's own wall clock is ahead of ours."""
        ...

    def put_cloned(self, device_id: str, at_ns: int) -> None:
        """Two agents were seen to share its identity at ``at_ns``; 0 = not any more."""
        ...

    # models and variants
    def add_model(self, model: Model, baseline: Variant) -> None:
        """Store a new version with its first variant; ConflictError when (model_id, version) exists."""
        ...

    def get_model(self, model_id: str, version: int | None = None) -> Model:
        """The newest version when none is named."""
        ...

    def list_models(self, cursor: str = "", limit: int = 100) -> Page[Model]:
        """Newest version of each."""
        ...

    def remove_model(self, model_id: str) -> None:
        """All versions, variants and pushes; ConflictError while a deployment serves it."""
        ...

    def add_variant(self, variant: Variant) -> None: ...
    def get_variant(self, variant_id: str) -> Variant: ...
    def list_variants(self, model_id: str, version: int) -> tuple[Variant, ...]: ...
    def put_variant_envelope(self, variant_id: str, envelope: SignedEnvelope) -> None:
        """The same manifest, signed again."""
        ...

    def put_variant_verdict(self, variant_id: str, is_kept: bool, dropped_reason: str) -> None:
        """What a later run of a recipe said of the same bytes."""
        ...

    def referenced_sha256s(self) -> frozenset[str]:
        """Every artifact that a model, variant or deployment still names (garbage collection keeps these)."""
        ...

    # what devices should be
    def put_push(self, push: Push) -> None: ...
    def list_pushes(self, device_id: str) -> tuple[Push, ...]: ...
    def remove_push(self, device_id: str, model_id: str) -> None:
        """Forget every push of the model to the device; nothing happens when there is none."""
        ...

    def desired(self, device_id: str) -> DesiredRow | None: ...
    def compare_and_set_desired(self, row: DesiredRow, expected_version: int) -> None:
        """Store ``row`` if the stored version still is ``expected_version`` (0 = none); else ConflictError."""
        ...

    # benchmarks
    def add_run(self, run: BenchmarkRun, requests: Sequence[DeviceRequest]) -> None: ...
    def get_run(self, run_id: str) -> BenchmarkRun: ...
    def get_request(self, request_id: str) -> DeviceRequest: ...
    def list_runs(self, cursor: str = "", limit: int = 100) -> Page[BenchmarkRun]: ...
    def list_requests(
        self, run_id: str | None = None, device_id: str | None = None, state: RequestState | None = None
    ) -> tuple[DeviceRequest, ...]: ...
    def put_request_state(self, request_id: str, attempt: int, state: RequestState, reason: str) -> None: ...
    def retry_request(self, request_id: str, attempt: int) -> None:
        """Open it again with attempt + 1."""
        ...

    def store_reports(self, reports: Sequence[StoredReport]) -> tuple[StoredReport, ...]:
        """Store a batch in one durable transaction; return those whose key was new, in order.

        A report whose key is taken by another content is not stored and comes back with that reason.
        A new benchmark record also lands in the records table and closes its request; a new event in the feed; a
        load result closes its load. A quarantined report (``rejected_reason``) is kept, closes its request as failed
        and yields nothing else. The returned reports carry the reason when the store itself had to quarantine one.
        """
        ...

    def list_reports(
        self, device_id: str | None = None, is_rejected: bool | None = None, cursor: str = "", limit: int = 100
    ) -> Page[StoredReport]:
        """In the order of arrival; the quarantined ones alone with ``is_rejected=True``."""
        ...

    def prune_rejected_reports(self, before_ns: int) -> int:
        """Forget quarantined reports that arrived before ``before_ns``; how many that were."""
        ...

    def forget_reports(self, device_id: str) -> None:
        """Forget which reports of the device are known; what they yielded (records, events, results) stays.

        For other hardware under its id, which numbers its reports from 1 again.
        """
        ...

    def list_records(
        self,
        model_id: str | None = None,
        version: int | None = None,
        device_id: str | None = None,
        run_id: str | None = None,
        cursor: str = "",
        limit: int = 1000,
    ) -> Page[BenchmarkRecord]:
        """In the order of arrival: the times in a record are the device's."""
        ...

    def get_record(self, record_id: str) -> BenchmarkRecord: ...

    # loads
    def put_load(self, load: DeviceLoad) -> None:
        """Insert, or replace the one of the same id."""
        ...

    def get_load(self, load_id: str) -> DeviceLoad: ...
    def list_loads(self, device_id: str | None = None, state: RequestState | None = None) -> tuple[DeviceLoad, ...]: ...

    # policies: the one per model that decides when results arrive
    def put_policy(self, policy: ModelPolicy) -> None: ...
    def get_policy(self, model_id: str) -> ModelPolicy | None: ...
    def list_policies(self) -> tuple[ModelPolicy, ...]: ...
    def remove_policy(self, model_id: str) -> None: ...

    # decisions, rollouts
    def add_decision(self, decision: Decision) -> None: ...
    def get_decision(self, decision_id: str) -> Decision: ...
    def list_decisions(
        self, model_id: str | None = None, device_id: str | None = None, cursor: str = "", limit: int = 100
    ) -> Page[Decision]:
        """Newest first."""
        ...

    def add_rollout(self, rollout: Rollout, deployments: Sequence[Deployment]) -> None: ...
    def get_rollout(self, rollout_id: str) -> Rollout: ...
    def list_rollouts(self, cursor: str = "", limit: int = 100) -> Page[Rollout]: ...
    def open_rollouts(self) -> tuple[Rollout, ...]:
        """Those that run or are paused: what time and reports may still move."""
        ...

    def put_rollout(
        self,
        rollout: Rollout,
        expected_state: str,
        deployments: Sequence[Deployment] = (),
        added: Sequence[Deployment] = (),
    ) -> None:
        """Replace it and ``deployments`` and store ``added`` in one transaction, if its stored state still is
        ``expected_state``; else ConflictError and nothing changes."""
        ...

    def list_deployments(
        self, rollout_id: str | None = None, device_id: str | None = None
    ) -> tuple[Deployment, ...]: ...
    def get_deployment(self, deployment_id: str) -> Deployment: ...
    def put_deployment(self, deployment: Deployment) -> None: ...

    # long work, events, telemetry
    def put_operation(self, operation: Operation) -> None: ...
    def get_operation(self, operation_id: str) -> Operation: ...
    def list_operations(self, cursor: str = "", limit: int = 100) -> Page[Operation]: ...
    def add_event(self, event: FleetEvent) -> FleetEvent:
        """Append; the returned event carries its sequence."""
        ...

    def list_events(
        self, after_sequence: int = 0, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]: ...
    def newest_events(
        self, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]:
        """The last ``limit`` of them, oldest first."""
        ...

    def prune_events(self, before_ns: int, kept: int, kept_per_device: int) -> int:
        """Forget events, oldest first; how many that were. Sequences of what is left stay, and none is used again.

        Those that had arrived before ``before_ns`` by the controller's own events among them (the time of a device's
        is the device's), those beyond the newest ``kept``, and those of a device beyond its newest
        ``kept_per_device``; never one of ``core.event_rules.KEPT_KINDS``.
        """
        ...

    def add_telemetry(self, device_id: str, samples: Sequence[Telemetry]) -> None: ...
    def list_telemetry(
        self, device_id: str, since_ns: int, model_id: str | None = None, limit: int = 1000
    ) -> tuple[Telemetry, ...]: ...
    def prune_telemetry(self, before_ns: int) -> int: ...


class ArtifactStore(Protocol):
    """Immutable bytes named by their sha256."""

    def put(self, source: Path) -> tuple[str, int]:
        """Copy a file in; return (sha256, bytes). Idempotent; bytes that are put again are young again.

        A full disk raises TemporaryError, nothing is left.
        """
        ...

    def size(self, sha256: str) -> int:
        """Bytes; NotFoundError when it is not here."""
        ...

    def read(self, sha256: str, offset: int, length: int) -> bytes: ...
    def path(self, sha256: str) -> Path:
        """A local file with the bytes, for the host's own use."""
        ...

    def iter_sha256s(self) -> Iterator[str]: ...
    def remove(self, sha256: str, min_age_s: float = 0.0) -> bool:
        """Delete the bytes unless they were last put less than ``min_age_s`` ago; whether they were deleted."""
        ...


class ChangeFeed(Protocol):
    """Wakes whoever waits for a topic ("device/<id>", "events"); carries no content. LISTEN/NOTIFY later."""

    def publish(self, topic: str) -> None: ...
    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` (from any thread, must not block) on each publish; returns the unsubscriber."""
        ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is at the other end: a device or the admin."""

    kind: str  # "device", "admin"
    principal_id: str


class DeviceRevokedError(NotAuthorisedError):
    """The device was removed from the fleet: its agent is told not to come back with this identity."""


class Authenticator(Protocol):
    """Turns what a link knows of its peer into a principal, or NotAuthorisedError."""

    def authenticate_certificate(self, certificate_pem: bytes) -> Principal:
        """From a client certificate that TLS has verified.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: an unknown device, another fleet, or a key that is not the device's.
        """
        ...

    def authenticate_device(self, device_id: str) -> Principal:
        """From an id that somebody else has proven: a broker that takes it from the certificate.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: an unknown device.
        """
        ...

    def authenticate_admin(self, token: str) -> Principal: ...


class FleetAuthority(Protocol):
    """The fleet's CA and signing key."""

    @property
    def signer(self) -> Signer: ...
    @property
    def verifier(self) -> Verifier: ...
    def ca_pem(self) -> bytes: ...
    def ca_fingerprint(self) -> str:
        """sha256 over the CA certificate's DER, lower-case hex."""
        ...

    def signing_keys(self) -> tuple[SigningKey, ...]: ...
    def key_set(self) -> SigningKeySet:
        """The newest set of signing keys; its first key signs today."""
        ...

    def key_sets(self) -> tuple[SignedEnvelope, ...]:
        """Every set after the first, oldest first, each signed by the first key of the set before it."""
        ...

    def is_signed_today(self, envelope: SignedEnvelope) -> bool:
        """Whether today's key is among the signatures, by its name."""
        ...

    def rotate_signing_key(self, overlap_s: float) -> SigningKeySet:
        """Sign with a new key from now on; the old one counts for ``overlap_s`` more. ConflictError: too many."""
        ...

    def new_challenge(self) -> bytes:
        """A number for a device to sign, good once and for a short while."""
        ...

    def check_renewal(self, certificate_pem: bytes, csr_pem: bytes) -> tuple[str, int]:
        """(device id, end of the certificate in ns) of whoever asks with an old certificate and a signed challenge.

        Raises:
            InvalidInputError: the request is malformed.
            NotAuthorisedError: the certificate is not this fleet's, the key is another, or the challenge is not good.
        """
        ...

    def public_key_sha256(self, csr_pem: bytes) -> str:
        """sha256 of the SPKI DER of a request's key, without issuing anything. InvalidInputError on a bad CSR."""
        ...

    def issue_device_certificate(self, csr_pem: bytes, device_id: str) -> tuple[bytes, str, str]:
        """(certificate PEM, serial hex, sha256 of the public key's SPKI DER). InvalidInputError on a bad CSR."""
        ...

    def issue_host_certificate(self, names: Sequence[str]) -> tuple[bytes, bytes]:
        """(certificate PEM, key PEM) for this controller's own TLS endpoints; names are DNS names or IPs."""
        ...

    def issue_client_certificate(self, name: str, life_s: float | None = None) -> tuple[bytes, bytes]:
        """(certificate PEM, key PEM) that only a broker takes, under ``name``; ``life_s`` None = without end."""
        ...

    def issue_door_certificate(self, csr_pem: bytes, device_id: str) -> bytes:
        """A certificate (PEM) for a device's key, good for asking for a renewal at a broker and no more.

        It lasts as long as renewals are answered, and is revoked with the device's others.
        """
        ...

    def sign_claim(self, secret: str, ends_s: int) -> str:
        """The CA's signature under the claim with which the holder of a join link gets to a broker."""
        ...

    def revoke_certificates(self, device_id: str) -> None:
        """Put every certificate that was issued to the device so far on the revocation list."""
        ...

    def revocation_list_pem(self) -> bytes:
        """The fleet's X.509 revocation list as of now."""
        ...


class DeviceSession(Protocol):
    """A live stream to one device."""

    device_id: str
    link: str

    def send(self, message: ControllerMessage) -> None:
        """Queue a message; never blocks. A desired state replaces an unsent older one."""
        ...

    def close(self, reason: str, is_revoked: bool = False) -> None: ...


@runtime_checkable
class AddressedSession(Protocol):
    """A session whose link knows from where the device dialled; a broker hides that."""

    address: str


class SessionSink(Protocol):
    """What a link hands to the service. Every call may come from any thread and may block (links offload it)."""

    def session_opened(self, session: DeviceSession) -> None: ...
    def session_closed(self, session: DeviceSession, reason: str) -> None: ...
    def messages_received(self, session: DeviceSession, messages: Sequence[AgentMessage]) -> None:
        """A batch in order. Reports are acknowledged through ``session.send`` after they are stored."""
        ...

    def read_artifact(self, device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
        """(bytes, total size). NotFoundError for an artifact that this device has no business with."""
        ...

    def join(self, request: JoinRequest) -> JoinResponse: ...
    def renew(self, device_id: str, csr_pem: bytes) -> RenewResponse: ...
