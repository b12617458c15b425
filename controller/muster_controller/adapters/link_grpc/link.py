"""The gRPC endpoint inside the controller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from muster_controller.adapters.link_grpc.chunk_wire import encode_chunk
from muster_controller.adapters.link_grpc.conversation import Conversation
from muster_controller.adapters.link_grpc.host_certificate import HostCertificate
from muster_controller.adapters.link_grpc.options import LinkOptions
from muster_controller.adapters.link_grpc.ranges import stream_range
from muster_controller.adapters.link_grpc.session import StreamSession
from muster_controller.ports import Authenticator, DeviceRevokedError, FleetAuthority, SessionSink
from muster_protos import codec
from muster_protos.errors import (
    CodecError,
    InvalidInputError,
    MusterError,
    NotAuthorisedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
)
from muster_protos.limits import CHUNK_BYTES, GOODBYE_METADATA, SESSION_METADATA
from muster_protos.model import FetchRequest, Goodbye, RenewRequest, RenewResponse
from muster_protos.v1 import link_pb2

_THREADS = 16
_CHECK_AGAIN_S = 1.0  # a revocation ends a running fetch within this time and a block
_REPLACED_RETRY_MS = 30_000  # two agents with one identity shall not chase each other
_STOPPED_RETRY_MS = 1_000
_TELL_EVERY_S = 10.0  # a device that sends garbage without end does not fill the log

_log = logging.getLogger(__name__)

T = TypeVar("T")


class GrpcLink:
    """Serves ``muster.v1.Link`` with mutual TLS. Who a peer is comes from its certificate, never from a message."""

    def __init__(
        self,
        sink: SessionSink,
        authority: FleetAuthority,
        authenticator: Authenticator,
        host: str = "127.0.0.1",
        port: int = 8471,
        names: Sequence[str] = (),
        options: LinkOptions = LinkOptions(),  # noqa: B008 - frozen
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``names``: further DNS names and IP addresses under which devices reach this host."""
        self._sink = sink
        self._authority = authority
        self._authenticator = authenticator
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._names = names
        self._options = options
        self._monotonic_s = monotonic_s
        self._dropped_told_s = float("-inf")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="link-grpc")
        self._sessions: dict[str, StreamSession] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._endpoint: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen; the real port.

        Raises:
            PermanentError: the port is taken or the address is not ours.
        """
        credentials = HostCertificate(self._authority, self._names, self._monotonic_s).credentials()
        self._endpoint = grpc.aio.server(options=self._options.channel_arguments())
        self._endpoint.add_generic_rpc_handlers((self._methods(),))
        try:
            port = self._endpoint.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise PermanentError(
                f"expected to listen on {self._address} for devices, found it taken or not ours; "
                "stop what uses it or choose another port"
            ) from error
        await self._endpoint.start()
        return int(port)

    async def stop(self, grace_s: float = 2.0) -> None:
        """Say goodbye to every device, wait up to ``grace_s`` seconds, stop. Safe to call twice."""
        if self._endpoint is None:
            return
        endpoint, self._endpoint = self._endpoint, None
        for session in tuple(self._sessions.values()):
            session.close("the controller stops", retry_after_ms=_STOPPED_RETRY_MS)
        if self._endings:
            await asyncio.wait(tuple(self._endings), timeout=grace_s)
        await endpoint.stop(grace_s)
        if self._endings:
            await asyncio.wait(tuple(self._endings))
        self._threads.shutdown(wait=False)

    def _methods(self) -> grpc.GenericRpcHandler:
        """``muster.v1.Link`` as the generated code would register it, except that Fetch writes encoded chunks."""
        connect = grpc.stream_stream_rpc_method_handler(
            self._connect, self._agent_message, link_pb2.ControllerMessage.SerializeToString
        )
        fetch: Any = grpc.unary_stream_rpc_method_handler(self._fetch)
        renew: Any = grpc.unary_unary_rpc_method_handler(
            self._renew, response_serializer=link_pb2.RenewResponse.SerializeToString
        )
        methods: dict[str, Any] = {"Connect": connect, "Fetch": fetch, "Renew": renew}
        return grpc.method_handlers_generic_handler("muster.v1.Link", methods)

    def _agent_message(self, payload: bytes) -> Message:
        """What does not parse counts as a message without a body, which is dropped: the session goes on."""
        try:
            return link_pb2.AgentMessage.FromString(payload)
        except (DecodeError, ValueError) as error:
            now_s = self._monotonic_s()
            if now_s - self._dropped_told_s > _TELL_EVERY_S:
                self._dropped_told_s = now_s
                _log.warning("a message of %d bytes was dropped: %s", len(payload), error)
            return link_pb2.AgentMessage()

    async def _connect(self, request_iterator: AsyncIterator[Message], context: Any) -> None:
        """One session; ends with a goodbye of either side."""
        device_id = await self._identify(context)
        session = StreamSession(device_id, asyncio.get_running_loop(), self._options.outbox_messages, _address(context))
        conversation = Conversation(session, self._sink, self._offload, self._options)
        await self._take_place(session)
        course = asyncio.create_task(self._converse(session, conversation, request_iterator, context))
        self._endings.add(course)
        course.add_done_callback(self._endings.discard)
        try:
            await asyncio.shield(course)
        except asyncio.CancelledError:
            conversation.break_off()
            raise

    async def _fetch(self, payload: bytes, context: Any) -> None:
        """Stream a range of an artifact in chunks of at most 256 KiB; an empty range is one empty chunk."""
        device_id = await self._identify(context)
        request = await _decoded(FetchRequest, payload, context)
        certificate = _peer_certificate(context)
        checked_s = time.monotonic()

        def read(offset: int, length: int) -> tuple[bytes, int]:
            nonlocal checked_s
            if time.monotonic() - checked_s > _CHECK_AGAIN_S:
                self._authenticator.authenticate_certificate(certificate)
                checked_s = time.monotonic()
            return self._sink.read_artifact(device_id, request.sha256, offset, length)

        async def read_block(offset: int, length: int) -> tuple[bytes, int]:
            block: tuple[bytes, int] = await self._offload(read, offset, length)
            return block

        try:
            async with contextlib.aclosing(stream_range(read_block, request.offset, request.length)) as blocks:
                async for offset, block, total_bytes in blocks:
                    view = memoryview(block)
                    for start in range(0, len(block) or 1, CHUNK_BYTES):
                        chunk = encode_chunk(offset + start, view[start : start + CHUNK_BYTES], total_bytes)
                        await context.write(chunk)
        except MusterError as error:
            await _refuse(context, error)

    async def _renew(self, payload: bytes, context: Any) -> Message:
        """A fresh certificate for a known, unrevoked device."""
        device_id = await self._identify(context)
        request = await _decoded(RenewRequest, payload, context)
        try:
            renewed: RenewResponse = await self._offload(self._sink.renew, device_id, request.csr_pem)
        except MusterError as error:
            await _refuse(context, error)
        return codec.to_message(renewed)

    async def _converse(
        self, session: StreamSession, conversation: Conversation, incoming: AsyncIterator[Message], context: Any
    ) -> None:
        reason = "the controller failed"
        try:
            await self._offload(self._sink.session_opened, session)
            await context.send_initial_metadata(((SESSION_METADATA, "1"),))
            reason = await conversation.run(incoming, context.write)
        except grpc.aio.UsageError:
            reason = "the connection broke"  # before the session had begun
        except Exception:  # noqa: BLE001 - a loop's top: one session's fault stays its own
            _log.exception("the session of device %s failed", session.device_id)
        finally:
            try:
                await self._offload(self._sink.session_closed, session, reason)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the end of device %s's session was not taken", session.device_id)
            if self._sessions.get(session.device_id) is session:
                del self._sessions[session.device_id]
            session.ended.set()

    async def _take_place(self, session: StreamSession) -> None:
        """One session per device: the older one ends, and the sink hears so, before the newer one begins."""
        while (older := self._sessions.get(session.device_id)) is not None:
            older.close("a newer session of this device took over", retry_after_ms=_REPLACED_RETRY_MS)
            await older.ended.wait()
        self._sessions[session.device_id] = session

    async def _identify(self, context: Any) -> str:
        try:
            principal = await self._offload(self._authenticator.authenticate_certificate, _peer_certificate(context))
        except MusterError as error:
            _log.warning("a peer at %s was refused: %s", context.peer(), error)
            await _refuse(context, error)
        return str(principal.principal_id)

    def _offload(self, call: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


async def _decoded(cls: type[T], payload: bytes, context: Any) -> T:
    try:
        return codec.decode(cls, payload)
    except CodecError as error:
        await _refuse(context, error)


def _address(context: Any) -> str:
    """From where the device dialled: "ipv4:192.0.2.7:40112" without the first word."""
    return unquote(str(context.peer())).partition(":")[2][:64]


def _peer_certificate(context: Any) -> bytes:
    """The client certificate that TLS verified, PEM."""
    found = context.auth_context().get("x509_pem_cert", ())
    return bytes(found[0]) if found else b""


async def _refuse(context: Any, error: MusterError) -> NoReturn:
    match error:
        case DeviceRevokedError():
            code, goodbye = grpc.StatusCode.PERMISSION_DENIED, Goodbye(str(error), is_revoked=True)
        case NotAuthorisedError():
            code, goodbye = grpc.StatusCode.UNAUTHENTICATED, Goodbye(str(error))
        case NotFoundError():
            code, goodbye = grpc.StatusCode.NOT_FOUND, Goodbye(str(error))
        case InvalidInputError():
            code, goodbye = grpc.StatusCode.INVALID_ARGUMENT, Goodbye(str(error))
        case TemporaryError():
            retry_after_ms = round((error.retry_after_s or 0.0) * 1e3)
            code, goodbye = grpc.StatusCode.UNAVAILABLE, Goodbye(str(error), retry_after_ms=retry_after_ms)
        case _:
            code, goodbye = grpc.StatusCode.FAILED_PRECONDITION, Goodbye(str(error))
    line = " ".join(str(error).split())[:1000]
    await context.abort(code, line, trailing_metadata=((GOODBYE_METADATA, codec.encode(goodbye)),))
    raise AssertionError("abort raises")
