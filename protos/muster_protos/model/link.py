"""What crosses a link between agent and controller. Mirrors v1/link.proto, which documents the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from muster_protos.model.benchmark import BenchmarkRecord, LoadResult
from muster_protos.model.device import Inventory, Telemetry
from muster_protos.model.state import ReportedState, SignedEnvelope


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened on a device."""

    event_id: str = ""
    kind: str = ""  # "rung.changed", "deployment.rolled_back", "child.crashed", ...
    at_ns: int = 0
    model_id: str = ""
    from_variant_id: str = ""
    to_variant_id: str = ""
    direction: str = ""  # "down", "up", ""
    reason: str = ""
    duration_ms: float | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Stored exactly once under (device, request_id, attempt, sequence), then acknowledged."""

    request_id: str = ""  # the benchmark's, or "events" for unrequested ones
    attempt: int = 0
    sequence: int = 0  # rises per device, survives restarts
    body: BenchmarkRecord | Event | LoadResult | None = None


@dataclass(frozen=True, slots=True)
class ReportAck:
    """The controller has stored (or quarantined) this report."""

    request_id: str = ""
    attempt: int = 0
    sequence: int = 0
    rejected_reason: str = ""  # empty = stored; otherwise quarantined, do not resend


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a session."""

    inventory: Inventory = Inventory()
    desired_epoch: int = 0
    desired_version: int = 0
    run_id: str = ""  # of the agent's process: two that take turns are clones


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long step on the device is; lossy."""

    subject: str = ""  # "fetch", "benchmark", "self_test"
    id: str = ""  # sha256 or request id
    done: float = 0.0
    total: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """Agent to controller."""

    body: Hello | ReportedState | Report | Telemetry | Progress | Goodbye | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """The signed desired state, whole."""

    envelope: SignedEnvelope = SignedEnvelope()
    key_sets: tuple[SignedEnvelope, ...] = ()  # SigningKeySet 2, 3, ...: what a device needs to check the envelope


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The agent said a clean farewell, or the controller closes the stream."""

    reason: str = ""
    is_revoked: bool = False  # the identity is gone: do not come back
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """The first word of the controller in a session."""

    clock_ns: int = 0  # the controller's wall clock: a device's own may be at 1970
    door_url: str = ""  # https://HOST:PORT where a device renews whose certificate has run out


@dataclass(frozen=True, slots=True)
class ControllerMessage:
    """Controller to agent."""

    body: Desired | ReportAck | Goodbye | SessionTerms | None = None


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A byte range of an artifact."""

    sha256: str = ""
    offset: int = 0
    length: int = 0  # 0 = to the end


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an artifact."""

    offset: int = 0
    data: bytes = b""  # at most 256 KiB
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """A certificate request from a device that has one."""

    csr_pem: bytes = b""
    certificate_pem: bytes = b""  # at the door only: the old one, and the request has a challenge in it


@dataclass(frozen=True, slots=True)
class RenewResponse:
    """The new certificates and the signing keys of today."""

    certificate_pem: bytes = b""
    signing_keys: tuple[SigningKey, ...] = ()
    door_certificate_pem: bytes = b""  # as in JoinResponse; empty = the old one counts on


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A fleet's public signing key."""

    key_id: str = ""
    public_key: bytes = b""  # Ed25519, 32 raw bytes


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A signing key and until when it counts."""

    key: SigningKey = SigningKey()
    retires_at_ns: int = 0  # wall clock; 0 = no date


@dataclass(frozen=True, slots=True)
class SigningKeySet:
    """Set 1 is what a device pins when it joins; each later one is signed by the first key of the set before it."""

    fleet_id: str = ""
    version: int = 0
    keys: tuple[TrustedKey, ...] = ()  # the first one signs today
    issued_at_ns: int = 0


@dataclass(frozen=True, slots=True)
class RenewalChallenge:
    """A one-time number: a request's signature over it proves the key without mutual TLS."""

    challenge: bytes = b""  # goes into the request as its challengePassword (RFC 2986), in base64
    clock_ns: int = 0


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """POSTed over TLS to the join endpoint after the CA's fingerprint has been checked."""

    secret: str = ""
    csr_pem: bytes = b""
    inventory: Inventory = Inventory()
    requested_device_id: str = ""


@dataclass(frozen=True, slots=True)
class JoinResponse:
    """Identity, trust anchors and links of a new device."""

    fleet_id: str = ""
    device_id: str = ""
    certificate_pem: bytes = b""
    ca_pem: bytes = b""
    signing_keys: tuple[SigningKey, ...] = ()
    links: tuple[str, ...] = ()  # "grpcs://127.0.0.1:8471", ...
    key_set_version: int = 0  # of signing_keys; 0 = 1
    broker_ca_pem: bytes = b""  # that signed the broker's certificate, where it is not ca_pem
    door_certificate_pem: bytes = b""  # for the same key: lets it ask for a renewal at a broker, no more


@dataclass(frozen=True, slots=True)
class BrokerJoinAsk:
    """A join where only a broker is reachable, published to ``up/join``."""

    nonce: bytes = b""  # 16 random bytes, drawn by the asker for each attempt to join
    request: bytes = b""  # an encoded JoinRequest without its secret; empty = which CAs are yours?
    proof: bytes = b""  # HMAC-SHA256 by a key that follows from the secret


@dataclass(frozen=True, slots=True)
class BrokerJoinAnswer:
    """The answer, published to ``down/joined``."""

    nonce: bytes = b""  # of the ask
    verdict: bytes = b""  # an encoded BrokerJoinVerdict
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class LinkPresence:
    """MQTT, retained: whether a connection to the broker still is."""

    connection_id: str = ""  # of one connection to the broker, drawn at connect
    is_online: bool = False


@dataclass(frozen=True, slots=True)
class Greeting:
    """MQTT: the device is connected and subscribed; open a session."""

    connection_id: str = ""  # as in the device's presence
    controller_connection_id: str = ""  # as in the presence of the controller that is greeted
    run_id: str = ""  # of the agent's process: two that take turns are clones


@dataclass(frozen=True, slots=True)
class Welcome:
    """MQTT: the session is open."""


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """MQTT: a block of an artifact, please."""

    request_id: int = 0  # one per fetch
    sha256: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class RenewCall:
    """MQTT: a fresh certificate, please."""

    request_id: int = 0
    request: RenewRequest = RenewRequest()


@dataclass(frozen=True, slots=True)
class Block:
    """MQTT: the answer to a block request."""

    request_id: int = 0
    chunk: Chunk = Chunk()  # at most 64 KiB


@dataclass(frozen=True, slots=True)
class RenewAnswer:
    """MQTT: the answer to a renewal."""

    request_id: int = 0
    response: RenewResponse = RenewResponse()


@dataclass(frozen=True, slots=True)
class Refusal:
    """MQTT: a block request or a renewal is not granted."""

    request_id: int = 0
    kind: str = ""  # "not_found", "not_authorised", "invalid_input", "temporary", "permanent"
    message: str = ""
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class BrokerJoinVerdict:
    """What became of a join over a broker."""

    body: JoinResponse | Refusal | None = None  # of a response the CAs alone, when nothing else was asked


@dataclass(frozen=True, slots=True)
class BrokerDoorAsk:
    """A renewal after the certificate has run out, where only a broker is reachable: published to ``up/door``."""

    nonce: bytes = b""
    request: RenewRequest | None = None  # None = a challenge, please


@dataclass(frozen=True, slots=True)
class BrokerDoorAnswer:
    """The answer, published to ``down/opened``."""

    nonce: bytes = b""  # of the ask
    body: RenewalChallenge | RenewResponse | Refusal | None = None  # kind "removed": out of the fleet


@dataclass(frozen=True, slots=True)
class UpMessage:
    """MQTT: what a device publishes, except its presence."""

    session_id: str = ""  # drawn by the agent for each greeting
    sequence: int = 0  # 1, 2, 3, ... for what must arrive, in order, once; 0 for everything else
    body: Greeting | AgentMessage | BlockRequest | RenewCall | None = None


@dataclass(frozen=True, slots=True)
class DownMessage:
    """MQTT: what the controller publishes to one session. Desired states are retained instead, for any session."""

    session_id: str = ""
    sequence: int = 0  # as in UpMessage
    taken_sequence: int = 0  # every UpMessage up to this one has been handed over
    body: Welcome | ControllerMessage | Block | RenewAnswer | Refusal | None = None
