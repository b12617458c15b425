from muster_protos.v1 import benchmark_pb2 as _benchmark_pb2
from muster_protos.v1 import device_pb2 as _device_pb2
from muster_protos.v1 import state_pb2 as _state_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("event_id", "kind", "at_ns", "model_id", "from_variant_id", "to_variant_id", "direction", "reason", "duration_ms", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    TO_VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    kind: str
    at_ns: int
    model_id: str
    from_variant_id: str
    to_variant_id: str
    direction: str
    reason: str
    duration_ms: float
    details: _containers.ScalarMap[str, str]
    def __init__(self, event_id: _Optional[str] = ..., kind: _Optional[str] = ..., at_ns: _Optional[int] = ..., model_id: _Optional[str] = ..., from_variant_id: _Optional[str] = ..., to_variant_id: _Optional[str] = ..., direction: _Optional[str] = ..., reason: _Optional[str] = ..., duration_ms: _Optional[float] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("request_id", "attempt", "sequence", "benchmark_record", "event", "load_result")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_RECORD_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    LOAD_RESULT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: int
    sequence: int
    benchmark_record: _benchmark_pb2.BenchmarkRecord
    event: Event
    load_result: _benchmark_pb2.LoadResult
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., sequence: _Optional[int] = ..., benchmark_record: _Optional[_Union[_benchmark_pb2.BenchmarkRecord, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., load_result: _Optional[_Union[_benchmark_pb2.LoadResult, _Mapping]] = ...) -> None: ...

class ReportAck(_message.Message):
    __slots__ = ("request_id", "attempt", "sequence", "rejected_reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: int
    sequence: int
    rejected_reason: str
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., sequence: _Optional[int] = ..., rejected_reason: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("inventory", "desired_epoch", "desired_version", "run_id")
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    DESIRED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DESIRED_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    inventory: _device_pb2.Inventory
    desired_epoch: int
    desired_version: int
    run_id: str
    def __init__(self, inventory: _Optional[_Union[_device_pb2.Inventory, _Mapping]] = ..., desired_epoch: _Optional[int] = ..., desired_version: _Optional[int] = ..., run_id: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("subject", "id", "done", "total", "note")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    subject: str
    id: str
    done: float
    total: float
    note: str
    def __init__(self, subject: _Optional[str] = ..., id: _Optional[str] = ..., done: _Optional[float] = ..., total: _Optional[float] = ..., note: _Optional[str] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("hello", "reported_state", "report", "telemetry", "progress", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORTED_STATE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    reported_state: _state_pb2.ReportedState
    report: Report
    telemetry: _device_pb2.Telemetry
    progress: Progress
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., reported_state: _Optional[_Union[_state_pb2.ReportedState, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., telemetry: _Optional[_Union[_device_pb2.Telemetry, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Desired(_message.Message):
    __slots__ = ("envelope", "key_sets")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    KEY_SETS_FIELD_NUMBER: _ClassVar[int]
    envelope: _state_pb2.SignedEnvelope
    key_sets: _containers.RepeatedCompositeFieldContainer[_state_pb2.SignedEnvelope]
    def __init__(self, envelope: _Optional[_Union[_state_pb2.SignedEnvelope, _Mapping]] = ..., key_sets: _Optional[_Iterable[_Union[_state_pb2.SignedEnvelope, _Mapping]]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason", "is_revoked", "retry_after_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_REVOKED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    is_revoked: bool
    retry_after_ms: int
    def __init__(self, reason: _Optional[str] = ..., is_revoked: bool = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class SessionTerms(_message.Message):
    __slots__ = ("clock_ns", "door_url")
    CLOCK_NS_FIELD_NUMBER: _ClassVar[int]
    DOOR_URL_FIELD_NUMBER: _ClassVar[int]
    clock_ns: int
    door_url: str
    def __init__(self, clock_ns: _Optional[int] = ..., door_url: _Optional[str] = ...) -> None: ...

class ControllerMessage(_message.Message):
    __slots__ = ("desired", "report_ack", "goodbye", "session_terms")
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    REPORT_ACK_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    SESSION_TERMS_FIELD_NUMBER: _ClassVar[int]
    desired: Desired
    report_ack: ReportAck
    goodbye: Goodbye
    session_terms: SessionTerms
    def __init__(self, desired: _Optional[_Union[Desired, _Mapping]] = ..., report_ack: _Optional[_Union[ReportAck, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., session_terms: _Optional[_Union[SessionTerms, _Mapping]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("sha256", "offset", "length")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    offset: int
    length: int
    def __init__(self, sha256: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset", "data", "total_bytes")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    total_bytes: int
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr_pem", "certificate_pem")
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    csr_pem: bytes
    certificate_pem: bytes
    def __init__(self, csr_pem: _Optional[bytes] = ..., certificate_pem: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("certificate_pem", "signing_keys", "door_certificate_pem")
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEYS_FIELD_NUMBER: _ClassVar[int]
    DOOR_CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    certificate_pem: bytes
    signing_keys: _containers.RepeatedCompositeFieldContainer[SigningKey]
    door_certificate_pem: bytes
    def __init__(self, certificate_pem: _Optional[bytes] = ..., signing_keys: _Optional[_Iterable[_Union[SigningKey, _Mapping]]] = ..., door_certificate_pem: _Optional[bytes] = ...) -> None: ...

class SigningKey(_message.Message):
    __slots__ = ("key_id", "public_key")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    public_key: bytes
    def __init__(self, key_id: _Optional[str] = ..., public_key: _Optional[bytes] = ...) -> None: ...

class TrustedKey(_message.Message):
    __slots__ = ("key", "retires_at_ns")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RETIRES_AT_NS_FIELD_NUMBER: _ClassVar[int]
    key: SigningKey
    retires_at_ns: int
    def __init__(self, key: _Optional[_Union[SigningKey, _Mapping]] = ..., retires_at_ns: _Optional[int] = ...) -> None: ...

class SigningKeySet(_message.Message):
    __slots__ = ("fleet_id", "version", "keys", "issued_at_ns")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    version: int
    keys: _containers.RepeatedCompositeFieldContainer[TrustedKey]
    issued_at_ns: int
    def __init__(self, fleet_id: _Optional[str] = ..., version: _Optional[int] = ..., keys: _Optional[_Iterable[_Union[TrustedKey, _Mapping]]] = ..., issued_at_ns: _Optional[int] = ...) -> None: ...

class RenewalChallenge(_message.Message):
    __slots__ = ("challenge", "clock_ns")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_NS_FIELD_NUMBER: _ClassVar[int]
    challenge: bytes
    clock_ns: int
    def __init__(self, challenge: _Optional[bytes] = ..., clock_ns: _Optional[int] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("secret", "csr_pem", "inventory", "requested_device_id")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    secret: str
    csr_pem: bytes
    inventory: _device_pb2.Inventory
    requested_device_id: str
    def __init__(self, secret: _Optional[str] = ..., csr_pem: _Optional[bytes] = ..., inventory: _Optional[_Union[_device_pb2.Inventory, _Mapping]] = ..., requested_device_id: _Optional[str] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("fleet_id", "device_id", "certificate_pem", "ca_pem", "signing_keys", "links", "key_set_version", "broker_ca_pem", "door_certificate_pem")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEYS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    KEY_SET_VERSION_FIELD_NUMBER: _ClassVar[int]
    BROKER_CA_PEM_FIELD_NUMBER: _ClassVar[int]
    DOOR_CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    device_id: str
    certificate_pem: bytes
    ca_pem: bytes
    signing_keys: _containers.RepeatedCompositeFieldContainer[SigningKey]
    links: _containers.RepeatedScalarFieldContainer[str]
    key_set_version: int
    broker_ca_pem: bytes
    door_certificate_pem: bytes
    def __init__(self, fleet_id: _Optional[str] = ..., device_id: _Optional[str] = ..., certificate_pem: _Optional[bytes] = ..., ca_pem: _Optional[bytes] = ..., signing_keys: _Optional[_Iterable[_Union[SigningKey, _Mapping]]] = ..., links: _Optional[_Iterable[str]] = ..., key_set_version: _Optional[int] = ..., broker_ca_pem: _Optional[bytes] = ..., door_certificate_pem: _Optional[bytes] = ...) -> None: ...

class BrokerDoorAsk(_message.Message):
    __slots__ = ("nonce", "request")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    request: RenewRequest
    def __init__(self, nonce: _Optional[bytes] = ..., request: _Optional[_Union[RenewRequest, _Mapping]] = ...) -> None: ...

class BrokerDoorAnswer(_message.Message):
    __slots__ = ("nonce", "renewal_challenge", "renew_response", "refusal")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    RENEW_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    renewal_challenge: RenewalChallenge
    renew_response: RenewResponse
    refusal: Refusal
    def __init__(self, nonce: _Optional[bytes] = ..., renewal_challenge: _Optional[_Union[RenewalChallenge, _Mapping]] = ..., renew_response: _Optional[_Union[RenewResponse, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class BrokerJoinAsk(_message.Message):
    __slots__ = ("nonce", "request", "proof")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    request: bytes
    proof: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., request: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class BrokerJoinAnswer(_message.Message):
    __slots__ = ("nonce", "verdict", "proof")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    verdict: bytes
    proof: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., verdict: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class BrokerJoinVerdict(_message.Message):
    __slots__ = ("join_response", "refusal")
    JOIN_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    join_response: JoinResponse
    refusal: Refusal
    def __init__(self, join_response: _Optional[_Union[JoinResponse, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class LinkPresence(_message.Message):
    __slots__ = ("connection_id", "is_online")
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    IS_ONLINE_FIELD_NUMBER: _ClassVar[int]
    connection_id: str
    is_online: bool
    def __init__(self, connection_id: _Optional[str] = ..., is_online: bool = ...) -> None: ...

class Greeting(_message.Message):
    __slots__ = ("connection_id", "controller_connection_id", "run_id")
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    connection_id: str
    controller_connection_id: str
    run_id: str
    def __init__(self, connection_id: _Optional[str] = ..., controller_connection_id: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BlockRequest(_message.Message):
    __slots__ = ("request_id", "sha256", "offset")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    sha256: str
    offset: int
    def __init__(self, request_id: _Optional[int] = ..., sha256: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class RenewCall(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    request: RenewRequest
    def __init__(self, request_id: _Optional[int] = ..., request: _Optional[_Union[RenewRequest, _Mapping]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("request_id", "chunk")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    chunk: Chunk
    def __init__(self, request_id: _Optional[int] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class RenewAnswer(_message.Message):
    __slots__ = ("request_id", "response")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    response: RenewResponse
    def __init__(self, request_id: _Optional[int] = ..., response: _Optional[_Union[RenewResponse, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("request_id", "kind", "message", "retry_after_ms")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    kind: str
    message: str
    retry_after_ms: int
    def __init__(self, request_id: _Optional[int] = ..., kind: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class UpMessage(_message.Message):
    __slots__ = ("session_id", "sequence", "greeting", "agent_message", "block_request", "renew_call")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    GREETING_FIELD_NUMBER: _ClassVar[int]
    AGENT_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_REQUEST_FIELD_NUMBER: _ClassVar[int]
    RENEW_CALL_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    sequence: int
    greeting: Greeting
    agent_message: AgentMessage
    block_request: BlockRequest
    renew_call: RenewCall
    def __init__(self, session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., greeting: _Optional[_Union[Greeting, _Mapping]] = ..., agent_message: _Optional[_Union[AgentMessage, _Mapping]] = ..., block_request: _Optional[_Union[BlockRequest, _Mapping]] = ..., renew_call: _Optional[_Union[RenewCall, _Mapping]] = ...) -> None: ...

class DownMessage(_message.Message):
    __slots__ = ("session_id", "sequence", "taken_sequence", "welcome", "controller_message", "block", "renew_answer", "refusal")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TAKEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    RENEW_ANSWER_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    sequence: int
    taken_sequence: int
    welcome: Welcome
    controller_message: ControllerMessage
    block: Block
    renew_answer: RenewAnswer
    refusal: Refusal
    def __init__(self, session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., taken_sequence: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., controller_message: _Optional[_Union[ControllerMessage, _Mapping]] = ..., block: _Optional[_Union[Block, _Mapping]] = ..., renew_answer: _Optional[_Union[RenewAnswer, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...
