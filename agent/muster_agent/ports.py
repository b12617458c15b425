"""What the agent's daemon needs from the outside.

The daemon is synchronous and threaded: nothing here needs asyncio, so an agent that speaks only MQTT never imports it.
Adapters: ``adapters/link_grpc.py``, ``adapters/link_mqtt``, ``adapters/state_sqlite``, ``adapters/cache_folder.py``,
``adapters/verifier_child.py``, ``adapters/measurer_child.py``, ``adapters/serving_local.py``,
``adapters/sensors_device.py``; in-memory ones ship in ``testing.py``. One contract-test class per port.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from muster_agent.core.caps import Readings
from muster_agent.core.known import Run, ServingRecord
from muster_agent.core.renewal import Life
from muster_protos.envelope import Verifier
from muster_protos.errors import TemporaryError
from muster_protos.model import (
    AgentMessage,
    ArtifactRef,
    BenchmarkRecord,
    BenchmarkRequest,
    Chunk,
    Configuration,
    ControllerMessage,
    Event,
    LoadRequest,
    LoadResult,
    LocalCap,
    LocalGrant,
    LocalReady,
    LocalStatus,
    Progress,
    RenewResponse,
    Report,
    SignedEnvelope,
    VariantManifest,
)

__all__ = [
    "ArtifactCache",
    "ArtifactRottedError",
    "Clock",
    "DeviceSensors",
    "Link",
    "LinkSink",
    "LoadRunner",
    "Measurer",
    "OwnIdentity",
    "ServedModels",
    "ServedSink",
    "StateStore",
    "Subject",
    "Verifier",
]


class ArtifactRottedError(TemporaryError):
    """A cached artifact's bytes have changed; it is in quarantine now."""

    def __init__(self, message: str, sha256: str) -> None:
        super().__init__(message)
        self.sha256 = sha256


class Clock(Protocol):
    """Wall and monotonic time, and a wait that a test can drive."""

    @property
    def is_told(self) -> bool:
        """Whether the controller has told the time since the start."""
        ...

    def learn(self, wall_ns: int) -> None:
        """The controller's wall clock, just now: from here on ``now_ns`` counts from it. One that is before what this
        device knows to have passed is not believed."""
        ...

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...
    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until ``event`` is set or the time is over; True when it was set."""
        ...


class LinkSink(Protocol):
    """What a link tells the daemon, from a thread of the link's own. Calls must return fast."""

    def online(self) -> None:
        """A session is up: the daemon answers with Hello, its reported state and everything unacknowledged."""
        ...

    def offline(self, reason: str) -> None: ...
    def unreached(self, reason: str) -> None:
        """No session has come about, for people who ask why; said once per reason."""
        ...

    def received(self, message: ControllerMessage) -> None: ...


class Link(Protocol):
    """One way to reach the controller. Reconnects by itself with full jitter until it is closed."""

    name: str  # "grpc", "mqtt"

    @property
    def is_proven(self) -> bool:
        """Whether what comes over it is known to be the controller's. A broker's word is not."""
        ...

    def start(self, sink: LinkSink) -> None: ...
    def send(self, message: AgentMessage) -> bool:
        """Hand over a message without blocking; False when there is no session or its queue is full.

        True means queued, not stored: a report is done only when its ReportAck arrives.
        """
        ...

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        """Stream an artifact from ``offset`` to its end, blocking; ``on_chunk`` gets the chunks in order.

        Raises:
            TemporaryError: the link broke; what arrived stays, call again with a higher offset.
            NotFoundError: the controller does not have it, or not for this device; final.
            InterruptedError: ``stop`` was set.
        """
        ...

    def renew(self, csr_pem: bytes) -> RenewResponse:
        """Fresh certificates for the holder of the same key, and today's signing keys."""
        ...

    def reconnect(self, reason: str) -> None:
        """End the session, if there is one, and come back with the credentials of now. Returns at once."""
        ...

    def close(self) -> None:
        """Say goodbye and stop; safe to call twice."""
        ...


class OwnIdentity(Protocol):
    """This device's certificate and the keys it trusts, as they change. Safe from several threads."""

    def life(self) -> Life:
        """Of the certificate. PermanentError: the identity is damaged."""
        ...

    def make_request(self, challenge: bytes = b"") -> bytes:
        """A certificate request (PEM) signed by the device's key, over ``challenge`` when there is one; blocking."""
        ...

    def keep(self, renewed: RenewResponse) -> Life:
        """Store renewed certificates, whole or not at all, before one is used.

        Raises:
            InvalidInputError: it is not for this device's key, or ends before the old one.
            PermanentError: it cannot be written.
        """
        ...

    def renew_at_door(self, learn: Callable[[int], None]) -> RenewResponse:
        """New certificates without a link; ``learn`` is told the time.

        Raises:
            RemovedError: the device was removed.
            NotAuthorisedError: the controller refuses, the grace is over.
            TemporaryError: nobody answers.
        """
        ...

    def learn_door(self, url: str) -> None:
        """Remember where ``renew_at_door`` has to ask; "" changes nothing. InvalidInputError: not such a URL."""
        ...

    def follow(self, key_sets: Sequence[SignedEnvelope]) -> bool:
        """Trust the newer sets of signing keys among these; True when there were some.

        Raises:
            NotAuthorisedError: one is not signed by the key before it.
            TemporaryError: it could not be checked.
        """
        ...


class StateStore(Protocol):
    """Everything durable but artifact bytes. Every call is on disk when it returns; safe from several threads.

    Writing raises TemporaryError while the disk takes nothing; reading goes on.
    """

    @property
    def problem(self) -> str:
        """Why nothing can be stored just now, since the start; "" when it can."""
        ...

    def take_loss(self) -> str:
        """What a rebuild after damage has lost, told once; "" when nothing."""
        ...

    def close(self) -> None: ...

    # desired state, verbatim as signed
    def desired(self) -> SignedEnvelope | None: ...
    def put_desired(self, envelope: SignedEnvelope) -> None: ...

    # serving pointers and what was found bad
    def serving(self) -> dict[str, ServingRecord]: ...
    def put_serving(self, record: ServingRecord) -> None: ...
    def drop_serving(self, model_id: str) -> None: ...
    def bad(self) -> dict[str, str]: ...
    def mark_bad(self, key: str, reason: str) -> None: ...
    def clear_bad(self, sha256s: Sequence[str]) -> None: ...
    def unmark_bad(self, keys: Sequence[str]) -> None: ...

    # requested runs; kind is "benchmark" or "load"
    def runs(self, kind: str) -> tuple[Run, ...]: ...
    def put_run(self, kind: str, run: Run, body: BenchmarkRecord | LoadResult | None = None) -> None:
        """Store how far a run is; a ``body`` is queued as a report in the same transaction."""
        ...

    def drop_runs(self, kind: str, keys: Sequence[tuple[str, int]]) -> None: ...

    # reports: exactly once
    def queue_events(self, events: Sequence[Event]) -> None:
        """Queue events as reports, in one transaction; sequence numbers rise and survive restarts."""
        ...

    def reports(self, after_sequence: int, limit: int) -> tuple[Report, ...]:
        """Unacknowledged reports in order of their sequence numbers."""
        ...

    def acknowledge(self, request_id: str, attempt: int, sequence: int, rejected_reason: str) -> bool:
        """Drop a stored (or quarantined) report; False when it is not queued. Rejections are kept for people."""
        ...


class ArtifactCache(Protocol):
    """Immutable bytes named by their sha256; only complete, verified ones have a name."""

    def cached(self) -> frozenset[str]: ...
    def partial_bytes(self) -> dict[str, int]:
        """Length of every partial file, by sha256."""
        ...

    def append(self, ref: ArtifactRef, offset: int, data: bytes) -> None:
        """Write a chunk at ``offset`` of the partial file.

        Raises:
            TemporaryError: the disk is full or failing.
            InvalidInputError: the chunk does not continue the file, or goes past its end.
        """
        ...

    def finish(self, ref: ArtifactRef) -> None:
        """Check length and sha256, then give the file its name.

        Raises:
            TemporaryError: the content is wrong (it is thrown away), or the disk is failing.
        """
        ...

    def check(self, ref: ArtifactRef) -> Path:
        """Hash a cached artifact again and return its path.

        Raises:
            ArtifactRottedError: its bytes have changed; it is in quarantine now and has to be fetched again.
            TemporaryError: it has vanished, or the disk is failing.
        """
        ...

    def path(self, sha256: str) -> Path: ...
    def remove(self, sha256s: Sequence[str]) -> None: ...
    def free_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A verified variant on disk that a child may load."""

    manifest: VariantManifest
    artifact_path: Path
    golden_path: Path | None
    evaluation_path: Path | None


class Measurer(Protocol):
    """Runs variants in throw-away children."""

    def benchmark(
        self,
        subject: Subject,
        request: BenchmarkRequest,
        on_progress: Callable[[Progress], None],
        stop: threading.Event,
    ) -> BenchmarkRecord:
        """Measure; blocking.

        Raises:
            PermanentError: the child crashed, hung or was refused memory; the message says how.
            InterruptedError: ``stop`` was set.
        """
        ...

    def self_test(self, subject: Subject, configuration: Configuration) -> None:
        """Compare the outputs on the golden inputs.

        Raises:
            PermanentError: they differ, or the child died; the message says how.
        """
        ...


class ServedSink(Protocol):
    """What serving processes tell the daemon, from threads of their own. Calls must return fast."""

    def serving_ended(self, model_id: str, reason: str) -> None: ...
    def serving_changed(self, model_id: str, ready: LocalReady) -> None:
        """The process came up again by itself, or moved its ports."""
        ...

    def serving_event(self, model_id: str, event: Event) -> None: ...


class ServedModels(Protocol):
    """The processes that serve, one per model."""

    def start(self, sink: ServedSink, expected: Sequence[str] = ()) -> None:
        """Open the doors; apps that ask for an ``expected`` model wait until it is served or stopped."""
        ...

    def serve(self, grant: LocalGrant, timeout_s: float) -> LocalReady:
        """Bring the grant up, in place of what the model served before; blocking.

        Raises:
            PermanentError: a variant cannot be served; what was up before still is, for apps too.
            TemporaryError: the process ended, or did not come up in time; apps keep the grant of before.
        """
        ...

    def cap(self, model_id: str, cap: LocalCap) -> None: ...
    def status(self, model_id: str) -> LocalStatus | None: ...
    def stop(self, model_id: str, reason: str) -> None: ...
    def close(self, reason: str) -> None:
        """Stop listening and end every process that was started."""
        ...


class LoadRunner(Protocol):
    """Puts a requested load on the device."""

    def run(
        self, request: LoadRequest, http_port: int, slo_ns: int, inputs: Path | None, stop: threading.Event
    ) -> LoadResult:
        """Run to the end, or until ``stop`` is set; blocking.

        Raises:
            PermanentError: it could not be run.
        """
        ...


class DeviceSensors(Protocol):
    """What the slow loop reads once a second."""

    def read(self) -> Readings: ...
