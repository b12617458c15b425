"""The Open Inference Protocol over gRPC. Imported only when grpcio is installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError

from muster_agent.serving.ask import arrival_ns, ask
from muster_agent.serving.engine import Engine
from muster_agent.serving.errors import GrantError, RefusedError, RequestError
from muster_agent.serving.protocol import EXTENSIONS, SERVICE_NAME, VARIANT_PARAMETER, ModelFace, metadata, model_face
from muster_agent.serving.tensors import (
    DATATYPES,
    Array,
    check_complete,
    check_tensor,
    from_bytes,
    from_numbers,
    wanted_outputs,
)
from muster_protos.errors import InvalidInputError, MusterError, NotFoundError
from muster_protos.inference import open_inference_pb2 as pb
from muster_protos.inference import open_inference_pb2_grpc as pb_grpc

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

_MAX_MESSAGE_BYTES = 65 * 1024 * 1024
_MAX_STREAMS = 256  # of one connection; further ones wait
_MAX_CONNECTIONS = 512
_GRACE_S = 3.0
_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


class GrpcService(pb_grpc.GRPCInferenceServiceServicer):
    """One method per call of the protocol."""

    def __init__(self, engine: Engine, version: str) -> None:
        self._engine = engine
        self._version = version

    async def ServerLive(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002 - the protocol's name
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        return pb.ServerReadyResponse(ready=self._engine.ladder is not None)

    async def ModelReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        async def ready() -> Any:
            model_face(self._engine, request.name, request.version)
            return pb.ModelReadyResponse(ready=True)

        return await _guarded(context, ready)

    async def ServerMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        return pb.ServerMetadataResponse(name=SERVICE_NAME, version=self._version, extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        async def describe() -> Any:
            description: dict[str, Any] = metadata(model_face(self._engine, request.name, request.version))
            return pb.ModelMetadataResponse(**description)

        return await _guarded(context, describe)

    async def ModelInfer(self, request: Any, context: Context) -> Any:  # noqa: N802
        arrived_ns = arrival_ns()

        async def infer() -> Any:
            face = model_face(self._engine, request.model_name, request.model_version)
            feeds = parse_inputs(face, request)
            asked = wanted_outputs(face.signature, [output.name for output in request.outputs])
            answer = await ask(self._engine, feeds, arrived_ns)
            response = format_response(face, request.id, asked, answer.outputs, answer.variant_id)
            self._engine.delivered(answer, arrived_ns, arrival_ns())
            return response

        return await _guarded(context, infer)


def parse_inputs(face: ModelFace, request: Any) -> dict[str, Array]:
    """Check a ModelInferRequest against the signature; raw or typed contents, never both.

    Raises:
        RequestError: what is wrong with it.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(f"expected one raw content per input ({len(request.inputs)}), found {len(raw)}")
    feeds: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in feeds:
            raise RequestError(f"expected every input once, found {tensor.name[:80]!r} twice")
        if "shared_memory_region" in tensor.parameters:
            raise RequestError(f"input {tensor.name!r}: shared memory is not supported; send the bytes")
        spec = check_tensor(face.signature, tensor.name, tensor.datatype, tensor.shape)
        if raw:
            if tensor.HasField("contents"):
                raise RequestError(f"input {tensor.name!r}: expected raw or typed contents, found both")
            feeds[tensor.name] = from_bytes(spec, tensor.shape, raw[index])
            continue
        field = _CONTENTS.get(tensor.datatype)
        if field is None:
            raise RequestError(f"input {tensor.name!r}: {tensor.datatype} travels only in raw_input_contents")
        feeds[tensor.name] = from_numbers(spec, tensor.shape, list(getattr(tensor.contents, field)))
    check_complete(face.signature, feeds)
    return feeds


def format_response(face: ModelFace, request_id: str, asked: tuple[str, ...], outputs: Any, variant_id: str) -> Any:
    """A ModelInferResponse with raw contents."""
    response = pb.ModelInferResponse(model_name=face.name, model_version=face.version, id=request_id)
    response.parameters[VARIANT_PARAMETER].string_param = variant_id
    for name in asked:
        array = np.ascontiguousarray(outputs[name])
        response.outputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        response.raw_output_contents.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return response


class GrpcListener:
    """One listening port of the gRPC transport."""

    def __init__(self, service: GrpcService, host: str, port: int) -> None:
        """Take the port, 0 for any; call it inside the event loop.

        Raises:
            GrantError: it is taken.
        """
        options = (
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_concurrent_streams", _MAX_STREAMS),
            ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.so_reuseport", 0),
        )
        self._listening = grpc.aio.server(options=options)
        self._listening.add_generic_rpc_handlers((_methods(service),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port: int = self._listening.add_insecure_port(address)
        except RuntimeError as error:
            raise GrantError(f"port: expected {address} to be free, found {error}") from error
        if self.port == 0:
            raise GrantError(f"port: expected {address} to be free, gRPC cannot bind it")

    async def start(self) -> None:
        await self._listening.start()

    async def close(self) -> None:
        """Stop listening, finish what is under way."""
        await self._listening.stop(_GRACE_S)


def _methods(service: GrpcService) -> grpc.GenericRpcHandler:
    """The protocol's methods as the generated code would register them, except that what does not parse is the
    caller's mistake: gRPC itself answers UNKNOWN and writes a traceback.
    """
    methods: dict[str, Any] = {
        "ServerLive": _method(pb.ServerLiveRequest, service.ServerLive),
        "ServerReady": _method(pb.ServerReadyRequest, service.ServerReady),
        "ModelReady": _method(pb.ModelReadyRequest, service.ModelReady),
        "ServerMetadata": _method(pb.ServerMetadataRequest, service.ServerMetadata),
        "ModelMetadata": _method(pb.ModelMetadataRequest, service.ModelMetadata),
        "ModelInfer": _method(pb.ModelInferRequest, service.ModelInfer),
    }
    return grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)


def _method(request_type: Any, call: Callable[[Any, Context], Awaitable[Any]]) -> Any:
    async def answer(payload: bytes, context: Context) -> Any:
        try:
            request = request_type.FromString(payload)
        except DecodeError:
            expected = request_type.DESCRIPTOR.name
            found = f"expected a {expected}, found {len(payload)} bytes that do not parse"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, found)
        return await call(request, context)

    handler: Any = grpc.unary_unary_rpc_method_handler(
        answer,
        response_serializer=lambda response: response.SerializeToString(),
    )
    return handler


async def _guarded(context: Context, call: Callable[[], Awaitable[T]]) -> T:
    """Our errors as gRPC status codes."""
    try:
        return await call()
    except MusterError as error:
        await context.abort(_code(error), str(error))
        raise AssertionError("abort raises") from error


def _code(error: MusterError) -> grpc.StatusCode:
    if isinstance(error, RefusedError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    if isinstance(error, NotFoundError):
        return grpc.StatusCode.NOT_FOUND
    if isinstance(error, InvalidInputError):
        return grpc.StatusCode.INVALID_ARGUMENT
    return grpc.StatusCode.INTERNAL
