"""Fetch an artifact block by block, and renew a certificate, over a session's calls; both block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from muster_agent.adapters.link_mqtt.blocks import BlockWindow
from muster_agent.adapters.link_mqtt.calls import Call, Calls
from muster_agent.adapters.link_mqtt.timing import LinkTiming
from muster_protos.errors import TemporaryError
from muster_protos.model import (
    Block,
    BlockRequest,
    Chunk,
    Refusal,
    RenewAnswer,
    RenewCall,
    RenewRequest,
    RenewResponse,
)
from muster_protos.mqtt.refusals import error_of

_LOOK_S = 0.1  # a stop is seen within this time


def fetch_blocks(
    calls: Calls,
    sha256: str,
    offset: int,
    on_chunk: Callable[[Chunk], None],
    stop: threading.Event,
    timing: LinkTiming,
) -> None:
    """Hand on an artifact from ``offset`` to its end; at least one chunk comes, empty when nothing is left.

    Raises:
        TemporaryError: the link broke or stalls; what arrived stays, call again with a higher offset.
        NotFoundError: the controller does not have it, or not for this device; final.
        InvalidInputError: ``offset`` is not within the artifact.
        InterruptedError: ``stop`` was set.
    """
    window = BlockWindow(offset, timing.block_timeout_s, time.monotonic())
    with calls.opened() as call:
        while not window.is_complete:
            for wanted in window.due(time.monotonic()):
                call.ask(BlockRequest(call.request_id, sha256, wanted))
            for chunk in _next_chunks(call, window):
                on_chunk(chunk)
                if stop.is_set():
                    break
            if stop.is_set():
                raise InterruptedError("the fetch was stopped")
            if time.monotonic() - window.progressed_s > timing.stall_timeout_s:
                raise TemporaryError(f"expected a block within {timing.stall_timeout_s:g} s, found none")


def renew(calls: Calls, csr_pem: bytes, timing: LinkTiming) -> RenewResponse:
    """New certificates and the signing keys.

    Raises:
        TemporaryError: no answer in time, or the link broke.
        PermanentError: the controller refuses.
    """
    with calls.opened() as call:
        call.ask(RenewCall(call.request_id, RenewRequest(csr_pem)))
        match call.wait(timing.renew_timeout_s):
            case RenewAnswer(response=response):
                return response
            case Refusal() as refusal:
                raise error_of(refusal)
            case _:
                raise TemporaryError(f"expected a renewed certificate within {timing.renew_timeout_s:g} s, found none")


def _next_chunks(call: Call, window: BlockWindow) -> tuple[Chunk, ...]:
    match call.wait(_LOOK_S):
        case Block(chunk=chunk):
            return window.take(chunk, time.monotonic())
        case Refusal() as refusal:
            raise error_of(refusal)
        case _:
            return ()
