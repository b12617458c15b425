"""Serving processes of this device: one child per served model behind the agent's local socket."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muster_agent.ports import ServedSink
from muster_agent.serving_process import LocalListener, Peer, ServingOptions, ServingProcess
from muster_protos.errors import PermanentError, TemporaryError
from muster_protos.model import Event, LocalCap, LocalFailed, LocalGrant, LocalReady, LocalStatus

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A ``serve`` that waits for its answer."""

    deployment_id: str
    answered: threading.Event = field(default_factory=threading.Event)
    ready: LocalReady | None = None
    failed: LocalFailed | None = None
    exited: str = ""


class LocalServing:
    """Grants, caps and stops; apps with ``muster.Serving`` get the same grants through the same socket.

    Invariant: apps are granted only what the serving child has answered to serve; a grant that failed there reaches
    nobody, and the one of before stays.
    """

    def __init__(self, socket_path: Path, options: ServingOptions) -> None:
        self._listener = LocalListener(socket_path, self)
        self._options = options
        self._lock = threading.Lock()
        self._processes: dict[str, ServingProcess] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._statuses: dict[str, LocalStatus] = {}
        self._sink: ServedSink | None = None

    def start(self, sink: ServedSink, expected: Sequence[str] = ()) -> None:
        self._sink = sink
        self._listener.expect(expected)
        self._listener.start()

    def serve(self, grant: LocalGrant, timeout_s: float) -> LocalReady:
        model_id = grant.model_id
        waiting = _Waiting(grant.grant.deployment_id)
        with self._lock:
            self._waiting[model_id] = waiting
            process = self._processes.get(model_id)
            if process is None:
                process = self._processes[model_id] = ServingProcess(self._listener, model_id, self._options)
        try:
            process.begin_trial(grant)
            ready = self._answer(process, waiting, timeout_s)
        except BaseException:
            process.reject_trial(grant)
            raise
        finally:
            with self._lock:
                self._waiting.pop(model_id, None)
        process.accept_trial(grant)
        return ready

    def _answer(self, process: ServingProcess, waiting: _Waiting, timeout_s: float) -> LocalReady:
        model_id = process.model_id
        try:
            process.start()
        except OSError as error:
            raise TemporaryError(f"the serving process of {model_id} cannot be started: {error}") from error
        if not waiting.answered.wait(timeout_s):
            raise TemporaryError(f"{model_id} was not ready within {timeout_s:.0f} s of its grant")
        if waiting.failed is not None:
            variant = waiting.failed.variant_id
            raise PermanentError(f"{variant}: {waiting.failed.reason}" if variant else waiting.failed.reason)
        if waiting.ready is None:
            raise TemporaryError(waiting.exited)
        return waiting.ready

    def cap(self, model_id: str, cap: LocalCap) -> None:
        self._listener.cap(model_id, cap)

    def status(self, model_id: str) -> LocalStatus | None:
        with self._lock:
            return self._statuses.get(model_id)

    def stop(self, model_id: str, reason: str) -> None:
        with self._lock:
            process = self._processes.pop(model_id, None)
            self._statuses.pop(model_id, None)
        if process is not None:
            process.stop(reason)
        else:
            self._listener.revoke(model_id, reason)

    def close(self, reason: str) -> None:
        with self._lock:
            model_ids = tuple(self._processes)
        for model_id in model_ids:
            self.stop(model_id, reason)
        self._listener.close()

    # ---- ServingSink: from the listener's thread ----

    def on_ready(self, peer: Peer, ready: LocalReady) -> None:
        if not peer.is_child:
            log.info("app %d serves %s with %s", peer.pid, peer.model_id, ready.active_variant_id)
            return
        with self._lock:
            waiting = self._waiting.get(peer.model_id)
        if waiting is not None and waiting.deployment_id == ready.deployment_id:
            waiting.ready = ready
            waiting.answered.set()
        elif self._sink is not None:
            self._sink.serving_changed(peer.model_id, ready)

    def on_failed(self, peer: Peer, failed: LocalFailed) -> None:
        with self._lock:
            waiting = self._waiting.get(peer.model_id)
        if waiting is not None and peer.is_child and waiting.deployment_id == failed.deployment_id:
            waiting.failed = failed
            waiting.answered.set()
        else:
            who = "the serving process" if peer.is_child else f"app {peer.pid}"
            log.warning("%s of %s could not serve %s: %s", who, peer.model_id, failed.variant_id, failed.reason)

    def on_status(self, peer: Peer, status: LocalStatus) -> None:
        with self._lock:
            self._statuses[peer.model_id] = status

    def on_event(self, peer: Peer, event: Event) -> None:
        if self._sink is not None:
            self._sink.serving_event(peer.model_id, event)

    def on_exit(self, peer: Peer, reason: str) -> None:
        with self._lock:
            waiting = self._waiting.get(peer.model_id)
            self._statuses.pop(peer.model_id, None)
        if waiting is not None:
            waiting.exited = reason
        if self._sink is not None:
            self._sink.serving_ended(peer.model_id, reason)  # also in a trial: what was up before is down now
        if waiting is not None:
            waiting.answered.set()
