"""Blocks of artifacts and renewals: read in threads of their own, so that neither holds up a device's reports."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.outgoing import Outgoing, Packet
from muster_controller.adapters.link_mqtt.session import BrokerSession
from muster_controller.ports import SessionSink
from muster_protos import codec
from muster_protos.errors import InvalidInputError, MusterError, TemporaryError
from muster_protos.limits import BLOCK_BYTES, MAX_BLOCKS_OUTSTANDING
from muster_protos.model import (
    Block,
    BlockRequest,
    Chunk,
    DownMessage,
    Refusal,
    RenewAnswer,
    RenewCall,
)
from muster_protos.mqtt.refusals import refusal_of
from muster_protos.mqtt.topics import DeviceTopics, Down

_THREADS = 4
_MAX_PER_DEVICE = 4 * MAX_BLOCKS_OUTSTANDING  # several fetches at once, and blocks asked for again

_log = logging.getLogger(__name__)


class Answers:
    """Answers block requests and renewals of live sessions."""

    def __init__(self, sink: SessionSink, fleet_id: str, outgoing: Outgoing, drops: Drops, unsent_blocks: int) -> None:
        self._sink = sink
        self._fleet_id = fleet_id
        self._outgoing = outgoing
        self._drops = drops
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="link-mqtt-blocks")
        self._room = threading.BoundedSemaphore(unsent_blocks)
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}  # by device
        self._is_closed = False

    def block(self, session: BrokerSession, request: BlockRequest) -> None:
        """Answer with a block of at most 64 KiB, empty at the artifact's end, or with a refusal."""
        self._submit(session.device_id, lambda: self._answer_block(session, request))

    def renewal(self, session: BrokerSession, call: RenewCall) -> None:
        """Answer with a fresh certificate, or with a refusal."""
        self._submit(session.device_id, lambda: self._answer_renewal(session, call))

    def close(self) -> None:
        """Answer nothing more."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, device_id: str, answer: Callable[[], None]) -> None:
        with self._lock:
            if self._is_closed or self._open.get(device_id, 0) >= _MAX_PER_DEVICE:
                self._drops.note(device_id, "it asks for more at once than it may", time.monotonic())
                return
            self._open[device_id] = self._open.get(device_id, 0) + 1
        self._threads.submit(self._run, device_id, answer)

    def _run(self, device_id: str, answer: Callable[[], None]) -> None:
        try:
            answer()
        finally:
            with self._lock:
                self._open[device_id] -= 1
                if not self._open[device_id]:
                    del self._open[device_id]

    def _answer_block(self, session: BrokerSession, request: BlockRequest) -> None:
        while not self._room.acquire(timeout=1.0):
            if self._is_closed or session.is_over:
                return

        def read() -> Block:
            data, total_bytes = self._read(session.device_id, request)
            return Block(request.request_id, Chunk(request.offset, data, total_bytes))

        self._post(session, Down.BLOCK, _ask(read, request.request_id), self._room.release)

    def _answer_renewal(self, session: BrokerSession, call: RenewCall) -> None:
        def renew() -> RenewAnswer:
            return RenewAnswer(call.request_id, self._sink.renew(session.device_id, call.request.csr_pem))

        self._post(session, Down.RENEWED, _ask(renew, call.request_id))

    def _read(self, device_id: str, request: BlockRequest) -> tuple[bytes, int]:
        if request.offset < 0:
            raise InvalidInputError(f"expected an offset within the artifact, found {request.offset}")
        data, total_bytes = self._sink.read_artifact(device_id, request.sha256, request.offset, BLOCK_BYTES)
        if request.offset > total_bytes:
            raise InvalidInputError(f"expected an offset within {total_bytes} bytes, found {request.offset}")
        return data, total_bytes

    def _post(
        self,
        session: BrokerSession,
        kind: Down,
        answer: Block | RenewAnswer | Refusal,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        topic = DeviceTopics(self._fleet_id, session.device_id).down(kind)
        self._outgoing.post(Packet(topic, codec.encode(DownMessage(session.session_id, body=answer)), on_done=on_done))


def _ask(call: Callable[[], Block | RenewAnswer], request_id: int) -> Block | RenewAnswer | Refusal:
    """What the service says, or why it does not."""
    try:
        return call()
    except MusterError as error:
        return refusal_of(request_id, error)
    except Exception as error:  # noqa: BLE001 - a loop's top: a fault of ours is an answer too
        _log.exception("a question of a device failed")
        return refusal_of(request_id, TemporaryError(f"the controller failed: {type(error).__name__}"))
