"""Fakes of the daemon's ports that ship with it: they keep state and can be told to fail, and nothing is mocked."""

# ruff: noqa: ARG002 (a fake takes what its port hands over, used or not)

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from muster_agent.core.caps import Readings
from muster_agent.ports import LinkSink, ServedSink, Subject
from muster_protos import codec
from muster_protos.envelope import DESIRED_STATE, VARIANT_MANIFEST
from muster_protos.errors import MusterError, NotAuthorisedError, NotFoundError, TemporaryError, UnreachableError
from muster_protos.limits import MAX_AGENT_MESSAGE_BYTES, check_size
from muster_protos.model import (
    AgentMessage,
    BenchmarkRecord,
    BenchmarkRequest,
    Chunk,
    Configuration,
    ControllerMessage,
    Desired,
    DesiredState,
    EnvelopeSignature,
    Hello,
    Latency,
    LoadRequest,
    LoadResult,
    LocalCap,
    LocalGrant,
    LocalReady,
    LocalStatus,
    Progress,
    RecordState,
    RenewResponse,
    Report,
    ReportAck,
    ReportedState,
    SignedEnvelope,
    VariantManifest,
)

GOOD_KEY = "test-key"
B = TypeVar("B")


class ManualClock:
    """Time that moves only when told to."""

    def __init__(self, now_ns: int = 1_800_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = 1_000_000_000
        self.is_told = False

    def learn(self, wall_ns: int) -> None:
        self._now_ns = wall_ns
        self.is_told = True

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        self._now_ns += int(seconds * 1e9)
        self._monotonic_ns += int(seconds * 1e9)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if event.is_set():
            return True
        self.advance(timeout_s)
        return False


def sign(payload_type: str, payload: bytes, key_id: str = GOOD_KEY) -> SignedEnvelope:
    """An envelope that ``FakeVerifier`` takes for genuine."""
    return SignedEnvelope(payload_type, payload, (EnvelopeSignature(key_id, b"signature"),))


def sign_desired(desired: DesiredState, key_id: str = GOOD_KEY) -> SignedEnvelope:
    """A desired state as the controller would send it."""
    return sign(DESIRED_STATE, codec.encode(desired), key_id)


def sign_manifest(manifest: VariantManifest, key_id: str = GOOD_KEY) -> SignedEnvelope:
    """A manifest as the controller would send it."""
    return sign(VARIANT_MANIFEST, codec.encode(manifest), key_id)


class FakeVerifier:
    """Genuine is what names the good key."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.next_error: MusterError | None = None

    def verify(self, envelopes: Sequence[SignedEnvelope]) -> None:
        self.batches.append(len(envelopes))
        error, self.next_error = self.next_error, None
        if error is not None:
            raise error
        for envelope in envelopes:
            if [signature.key_id for signature in envelope.signatures] != [GOOD_KEY]:
                raise NotAuthorisedError(f"expected a {envelope.payload_type} signed by this fleet")


class FakeLink:
    """A controller's artifacts and ears in the same process."""

    name = "fake"
    is_proven = True

    def __init__(self, chunk_bytes: int = 4) -> None:
        self.artifacts: dict[str, bytes] = {}
        self.sent: list[AgentMessage] = []
        self.fetched: list[tuple[str, int]] = []  # (sha256, offset)
        self.break_after_bytes: int | None = None  # the next fetch breaks there
        self.room = 1_000_000  # messages that it still takes
        self.is_closed = False
        self.renewed = b""  # the certificate that it hands out; none = unreachable
        self.reconnects: list[str] = []
        self._chunk_bytes = chunk_bytes
        self._sink: LinkSink | None = None
        self._is_up = False

    def start(self, sink: LinkSink) -> None:
        self._sink = sink

    def come_up(self) -> None:
        self._is_up = True
        assert self._sink is not None
        self._sink.online()

    def go_down(self, reason: str = "reset") -> None:
        self._is_up = False
        assert self._sink is not None
        self._sink.offline(reason)

    def deliver(self, desired: DesiredState, key_id: str = GOOD_KEY) -> None:
        self.deliver_envelope(sign_desired(desired, key_id))

    def deliver_envelope(self, envelope: SignedEnvelope) -> None:
        assert self._sink is not None
        self._sink.received(ControllerMessage(Desired(envelope)))

    def acknowledge(self, report: Report, rejected_reason: str = "") -> None:
        assert self._sink is not None
        ack = ReportAck(report.request_id, report.attempt, report.sequence, rejected_reason)
        self._sink.received(ControllerMessage(ack))

    def send(self, message: AgentMessage) -> bool:
        check_size(len(codec.encode(message)), MAX_AGENT_MESSAGE_BYTES, "message to the controller")
        if not self._is_up or self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(message)
        return True

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        if not self._is_up:
            raise UnreachableError("no session")
        if sha256 not in self.artifacts:
            raise NotFoundError(f"no artifact {sha256[:12]}")
        self.fetched.append((sha256, offset))
        content, limit = self.artifacts[sha256], self.break_after_bytes
        self.break_after_bytes = None
        for start in range(offset, len(content), self._chunk_bytes):
            if limit is not None and start - offset >= limit:
                raise UnreachableError("the link broke")
            if stop.is_set():
                raise InterruptedError
            on_chunk(Chunk(start, content[start : start + self._chunk_bytes], len(content)))

    def renew(self, csr_pem: bytes) -> RenewResponse:
        if not self.renewed:
            raise UnreachableError("the fake renews nothing")
        return RenewResponse(self.renewed)

    def reconnect(self, reason: str) -> None:
        self.reconnects.append(reason)

    def close(self) -> None:
        self.is_closed = True

    # ---- what was heard ----

    def bodies(self, kind: type[B]) -> list[B]:
        """Bodies of one kind, in order."""
        return [message.body for message in self.sent if isinstance(message.body, kind)]

    def reports(self) -> list[Report]:
        return self.bodies(Report)

    def last_reported(self) -> ReportedState:
        return self.bodies(ReportedState)[-1]

    def hellos(self) -> list[Hello]:
        return self.bodies(Hello)


class FakeMeasurer:
    """Answers at once, or fails as told."""

    def __init__(self) -> None:
        self.benchmarks: list[str] = []  # request ids
        self.self_tests: list[Configuration] = []
        self.benchmark_errors: list[Exception] = []
        self.bad_variants: dict[str, MusterError] = {}
        self.while_running: Callable[[], None] | None = None

    def benchmark(
        self,
        subject: Subject,
        request: BenchmarkRequest,
        on_progress: Callable[[Progress], None],
        stop: threading.Event,
    ) -> BenchmarkRecord:
        self.benchmarks.append(request.request_id)
        if self.while_running is not None:
            self.while_running()
        if stop.is_set():
            raise InterruptedError
        if self.benchmark_errors:
            raise self.benchmark_errors.pop(0)
        return BenchmarkRecord(
            schema_version=1,
            record_id=f"record-{request.request_id}",
            state=RecordState.VALID,
            configuration=request.configuration,
            latency=Latency(n=64, p50=1_000_000),
        )

    def self_test(self, subject: Subject, configuration: Configuration) -> None:
        self.self_tests.append(configuration)
        error = self.bad_variants.get(configuration.variant_id)
        if error is not None:
            raise error


class FakeServed:
    """Serving processes that come up at once, or fail as told.

    As the real ones: apps are offered a grant once it serves, and keep the one of before when it does not. A
    PermanentError is a refusal, what was up stays up; a TemporaryError is the end of the process.
    """

    def __init__(self) -> None:
        self.grants: list[LocalGrant] = []
        self.up: dict[str, LocalGrant] = {}
        self.offered: dict[str, LocalGrant] = {}  # to apps
        self.caps: list[tuple[str, LocalCap]] = []
        self.stopped: list[tuple[str, str]] = []
        self.errors: list[MusterError] = []  # of the next grants
        self.statuses: dict[str, LocalStatus] = {}
        self.is_closed = False
        self.expected: tuple[str, ...] = ()  # models that apps wait for
        self._sink: ServedSink | None = None

    def start(self, sink: ServedSink, expected: Sequence[str] = ()) -> None:
        self._sink = sink
        self.expected = tuple(expected)

    def serve(self, grant: LocalGrant, timeout_s: float) -> LocalReady:
        self.grants.append(grant)
        if self.errors:
            error = self.errors.pop(0)
            if isinstance(error, TemporaryError):
                self.crash(grant.model_id, str(error))
            raise error
        self.up[grant.model_id] = self.offered[grant.model_id] = grant
        names = tuple(rung.configuration.variant_id for rung in grant.grant.ladder)
        return LocalReady(
            deployment_id=grant.grant.deployment_id,
            active_variant_id=names[0],
            resident_variant_ids=names,
            http_port=grant.grant.http_port or 40_001,
            grpc_port=grant.grant.grpc_port or 40_002,
        )

    def crash(self, model_id: str, reason: str = "was ended by SIGSEGV") -> None:
        assert self._sink is not None
        self.up.pop(model_id, None)
        self._sink.serving_ended(model_id, reason)

    def cap(self, model_id: str, cap: LocalCap) -> None:
        self.caps.append((model_id, cap))

    def status(self, model_id: str) -> LocalStatus | None:
        return self.statuses.get(model_id)

    def stop(self, model_id: str, reason: str) -> None:
        self.up.pop(model_id, None)
        self.offered.pop(model_id, None)
        self.stopped.append((model_id, reason))

    def close(self, reason: str) -> None:
        self.up.clear()
        self.offered.clear()
        self.is_closed = True


class FakeLoad:
    """A load that ends when it is told to, or at once."""

    def __init__(self) -> None:
        self.requests: list[LoadRequest] = []
        self.may_end = threading.Event()
        self.may_end.set()

    def run(
        self, request: LoadRequest, http_port: int, slo_ns: int, inputs: Path | None, stop: threading.Event
    ) -> LoadResult:
        self.requests.append(request)
        self.may_end.wait(10)
        return LoadResult(request_id=request.request_id, attempt=request.attempt, offered=10, answered=10)


class FakeSensors:
    """Readings that a test sets."""

    def __init__(self) -> None:
        self.readings = Readings()

    def read(self) -> Readings:
        return self.readings

    def heat(self, celsius: float | None, trip_celsius: float = 80.0) -> None:
        self.readings = replace(self.readings, temperature_celsius=celsius, trip_celsius=trip_celsius)
