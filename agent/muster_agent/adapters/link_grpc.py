"""The agent's end of the gRPC link.

One thread holds the session and reconnects; ``fetch`` and ``renew`` run in the caller's. gRPC's synchronous interface
needs the same memory as grpc.aio and no event loop beside the daemon's threads (docs/adr/0007-agent-link-threads.md).
Every session has a channel of its own, so that our full jitter decides when to come back, not gRPC's back-off.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from muster_agent.address import host_and_port
from muster_agent.fetch_pace import FetchPace
from muster_agent.outbox import Outbox
from muster_agent.ports import LinkSink
from muster_agent.reconnect import End, Reconnect
from muster_agent.redial import Redial
from muster_protos import codec
from muster_protos.credentials import Credentials as Credentials
from muster_protos.errors import (
    CodecError,
    InvalidInputError,
    MusterError,
    NotAuthorisedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
    UnreachableError,
)
from muster_protos.limits import (
    CHUNK_BYTES,
    FRAMING_BYTES,
    GOODBYE_METADATA,
    MAX_AGENT_MESSAGE_BYTES,
    MAX_CONTROLLER_MESSAGE_BYTES,
    SESSION_METADATA,
)
from muster_protos.model import (
    AgentMessage,
    Chunk,
    ControllerMessage,
    FetchRequest,
    Goodbye,
    RenewRequest,
    RenewResponse,
)

# gRPC's core reads these when it is loaded; its own log would repeat every refused handshake on standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # children are started with exec and use nothing of ours
import grpc

from muster_protos.v1 import link_pb2_grpc

DEFAULT_PORT = 8471
_FAREWELL_S = 1.5
_WINDOW_BYTES = 1024 * 1024  # on its way at once: 80 Mbit/s at a round trip of 100 ms, a gigabit at 8 ms

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """A silent controller is gone after ``keepalive_time_s`` + ``keepalive_timeout_s``."""

    keepalive_time_s: float = 10.0
    keepalive_timeout_s: float = 20.0  # an answer waits behind what is under way, on a slow network for seconds
    connect_timeout_s: float = 15.0
    stall_timeout_s: float = 45.0  # a fetch without a chunk for so long is broken
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0

    def channel_arguments(self) -> list[tuple[str, int]]:
        """For ``grpc.secure_channel(options=...)``."""
        return [
            ("grpc.use_local_subchannel_pool", 1),  # no state of an earlier channel
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", MAX_CONTROLLER_MESSAGE_BYTES + FRAMING_BYTES),
            ("grpc.max_send_message_length", MAX_AGENT_MESSAGE_BYTES + FRAMING_BYTES),
            ("grpc.http2.max_frame_size", CHUNK_BYTES + FRAMING_BYTES),
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
            ("grpc.http2.bdp_probe", 0),  # it lets the window, and with it memory and what a kill loses, grow to 16 MiB
            ("grpc.keepalive_time_ms", int(self.keepalive_time_s * 1e3)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout_s * 1e3)),
            ("grpc.http2.ping_timeout_ms", int(self.keepalive_timeout_s * 1e3)),  # else 60 s, and it wins
            ("grpc.http2.max_pings_without_data", 0),
        ]


class GrpcLink:
    """The Link port. ``read_credentials`` is asked before every connection, so a renewed certificate is taken up."""

    name = "grpc"
    is_proven = True

    def __init__(
        self,
        url: str,
        read_credentials: Callable[[], Credentials],
        timing: LinkTiming = LinkTiming(),
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``url``: ``grpcs://HOST[:PORT]``; the controller's certificate must name HOST.

        Raises:
            InvalidInputError: not such a URL.
        """
        self._target = _target(url)
        self._read_credentials = read_credentials
        self._timing = timing
        self._reconnect = Reconnect(self._target, Redial(timing.retry_base_s, timing.retry_cap_s, draw))
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None  # of the session that is up
        self._call: Any = None
        self._outbox: Outbox | None = None
        self._thread: threading.Thread | None = None

    def start(self, sink: LinkSink) -> None:
        """Connect in a thread of its own; again and again until ``close`` or revocation."""
        run = self._reconnect.run
        self._thread = threading.Thread(target=run, args=(self._hold_session, sink), name="link-grpc", daemon=True)
        self._thread.start()

    def send(self, message: AgentMessage) -> bool:
        """Hand over a message without blocking; False when there is no session or its queue is full.

        Raises:
            InvalidInputError: the message is larger than any link carries; sending it again will not help.
        """
        outbox = self._outbox
        return outbox is not None and outbox.push(message)

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        """Stream an artifact from ``offset`` to its end; at least one chunk comes, empty when nothing is left.

        Raises:
            TemporaryError: the link broke or stalls; what arrived stays, call again with a higher offset.
            NotFoundError: the controller does not have it, or not for this device; final.
            InvalidInputError: ``offset`` is not within the artifact.
            InterruptedError: ``stop`` was set.
        """
        pace = FetchPace()
        is_complete = False
        while not is_complete:
            began_s = time.monotonic()
            request = FetchRequest(sha256, offset, pace.portion_bytes)
            offset, is_complete = self._fetch_portion(request, on_chunk, stop)
            pace.took(time.monotonic() - began_s)

    def _fetch_portion(
        self, request: FetchRequest, on_chunk: Callable[[Chunk], None], stop: threading.Event
    ) -> tuple[int, bool]:
        """(the byte that comes next, True when nothing is left)."""
        call = self._begin("Fetch", codec.to_message(request))
        watch = _Watch(call, stop, self._timing.stall_timeout_s)
        expected, is_complete = request.offset, False
        try:
            with watch:
                for wire in call:
                    watch.progressed()
                    if wire.offset != expected:
                        raise TemporaryError(f"expected bytes from {expected} on, found a chunk at {wire.offset}")
                    expected += len(wire.data)
                    is_complete = expected >= wire.total_bytes
                    on_chunk(Chunk(wire.offset, wire.data, wire.total_bytes))
                    if stop.is_set():
                        break
        except grpc.RpcError as error:
            if stop.is_set():
                raise InterruptedError("the fetch was stopped") from error
            if watch.is_stalled:
                raise TemporaryError(
                    f"expected a chunk within {self._timing.stall_timeout_s:g} s, found none"
                ) from error
            raise _translate(error) from error
        finally:
            call.cancel()
        if stop.is_set():
            raise InterruptedError("the fetch was stopped")
        if expected == request.offset and not is_complete:
            raise TemporaryError(f"expected bytes from {expected} on, found none")
        return expected, is_complete

    def renew(self, csr_pem: bytes) -> RenewResponse:
        """Fresh certificates for the holder of the same key, and today's signing keys."""
        call = self._begin("Renew", codec.to_message(RenewRequest(csr_pem)), timeout_s=30.0)
        try:
            return codec.from_message(RenewResponse, call.result())
        except grpc.RpcError as error:
            raise _translate(error) from error

    def reconnect(self, reason: str) -> None:
        """End the session, if there is one, and come back with the credentials of now. Returns at once."""
        with self._lock:
            outbox = self._outbox
        self._reconnect.hurry()
        if outbox is not None:
            outbox.push(AgentMessage(Goodbye(reason)))
            outbox.close()  # what is in it leaves first; the controller ends the stream after the goodbye

    def close(self) -> None:
        """Say goodbye and stop; safe to call twice, from any thread."""
        self._reconnect.close()
        with self._lock:
            outbox, call, thread = self._outbox, self._call, self._thread
        if outbox is not None:
            outbox.push(AgentMessage(Goodbye("the agent stops")))
            outbox.close()
        elif call is not None:
            call.cancel()
        if thread is None or thread is threading.current_thread():
            return
        thread.join(_FAREWELL_S)
        with self._lock:
            call = self._call
        if call is not None:
            call.cancel()
        thread.join(_FAREWELL_S)

    def _hold_session(self, sink: LinkSink) -> End:
        """One connection from dial to end."""
        try:
            credentials = self._read_credentials()
        except MusterError as error:
            self._reconnect.failed(str(error), sink)
            return End(str(error))
        outbox = Outbox()
        security = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate)
        channel = grpc.secure_channel(self._target, security, self._timing.channel_arguments())
        try:
            call = _stub(channel).Connect(_drain(outbox))
            with self._lock:
                self._call = call
            end = self._dial(call, sink) or self._listen(call, channel, outbox, sink)
        finally:
            with self._lock:
                self._channel = self._outbox = self._call = None
            outbox.clear()
            outbox.close()
            channel.close()
        return end

    def _dial(self, call: Any, sink: LinkSink) -> End | None:
        """Wait for the controller to accept; None when it does."""
        timer = threading.Timer(self._timing.connect_timeout_s, call.cancel)
        timer.daemon = True
        timer.start()
        try:
            if self._reconnect.closing.is_set():
                call.cancel()
            accepted = dict(call.initial_metadata() or ())
        finally:
            timer.cancel()
        if SESSION_METADATA in accepted:
            self._reconnect.succeeded()
            return None
        end = _read_end(call)
        if call.code() == grpc.StatusCode.CANCELLED and not self._reconnect.closing.is_set():
            end = End(f"expected an answer of {self._target} within {self._timing.connect_timeout_s:g} s, found none")
        self._reconnect.failed(end.reason, sink)
        if end.goodbye is not None and end.goodbye.is_revoked:
            sink.received(ControllerMessage(end.goodbye))
        return end

    def _listen(self, call: Any, channel: grpc.Channel, outbox: Outbox, sink: LinkSink) -> End:
        with self._lock:
            self._channel, self._outbox = channel, outbox
        goodbye: Goodbye | None = None
        try:
            if self._reconnect.closing.is_set():
                outbox.close()
            sink.online()
            for wire in call:
                message = codec.from_message(ControllerMessage, wire)
                if isinstance(message.body, Goodbye):
                    goodbye = message.body
                if message.body is not None:
                    sink.received(message)
        except grpc.RpcError:
            pass  # the status is read below
        finally:
            with self._lock:
                self._channel = self._outbox = None
            if call.is_active():  # a fault of ours: a session that nobody reads must not stay
                call.cancel()
            end = End(goodbye.reason, goodbye) if goodbye is not None else _read_end(call)
            sink.offline(end.reason)
        return end

    def _begin(self, method: str, request: Message, timeout_s: float | None = None) -> Any:
        with self._lock:
            channel = self._channel
        if channel is None:
            raise UnreachableError(f"expected a session with {self._target}, found none; it reconnects by itself")
        try:
            start = getattr(_stub(channel), method)
            return start(request) if timeout_s is None else start.future(request, timeout=timeout_s)
        except ValueError as error:  # the channel was closed meanwhile
            raise UnreachableError(f"the session with {self._target} ended") from error


class _Watch:
    """Cancels a call when ``stop`` is set or nothing arrives for ``stall_s`` seconds."""

    def __init__(self, call: Any, stop: threading.Event, stall_s: float) -> None:
        self.is_stalled = False
        self._call = call
        self._stop = stop
        self._stall_s = stall_s
        self._progressed_s = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch-watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def progressed(self) -> None:
        self._progressed_s = time.monotonic()

    def _run(self) -> None:
        while not self._is_over.wait(0.1):
            self.is_stalled = time.monotonic() - self._progressed_s > self._stall_s
            if self._stop.is_set() or self.is_stalled:
                self._call.cancel()
                return


def _target(url: str) -> str:
    host, port = host_and_port(url, "grpcs", DEFAULT_PORT)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stub(channel: grpc.Channel) -> Any:
    return link_pb2_grpc.LinkStub(channel)  # type: ignore[no-untyped-call]


def _drain(outbox: Outbox) -> Iterator[Message]:
    while (message := outbox.take()) is not None:
        yield message


def _read_end(call: Any) -> End:
    """Why an RPC is over; blocks until it is."""
    code, details = call.code(), call.details() or ""
    goodbye = None
    for key, value in call.trailing_metadata() or ():
        if key == GOODBYE_METADATA:
            with contextlib.suppress(CodecError):
                goodbye = codec.decode(Goodbye, value)
    if goodbye is not None:
        return End(goodbye.reason, goodbye)
    if code == grpc.StatusCode.OK:
        return End("the controller ended the session")
    return End(f"{code.name.lower()}: {_explain(details)}")


def _explain(details: str) -> str:
    """gRPC's words for a connection that did not come about, in ours."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname" in details:
        return "expected a controller of this fleet under that name, found another certificate"
    if "Connection refused" in details:
        return "nobody listens there; is muster up running?"
    if details.endswith("Socket closed"):
        return "the controller closed the connection; is this device's certificate expired, or of another fleet?"
    return details


def _translate(error: grpc.RpcError) -> MusterError:
    """What a failed call means for the caller."""
    call: Any = error
    end = _read_end(call)
    match call.code():
        case grpc.StatusCode.NOT_FOUND:
            return NotFoundError(end.reason)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return NotAuthorisedError(end.reason)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return InvalidInputError(end.reason)
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.UNIMPLEMENTED:
            return PermanentError(end.reason)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED if end.goodbye is None:
            return UnreachableError(f"the link broke: {end.reason}")
        case _:
            retry_after_s = end.goodbye.retry_after_ms / 1e3 if end.goodbye else 0.0
            return TemporaryError(end.reason, retry_after_s or None)
