"""Loads run beside later steps, each in a thread of its own; they are not repeated after a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from muster_agent.core.known import Live, Run
from muster_agent.core.wanted import Wanted
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, MusterError
from muster_protos.model import BenchmarkPhase, LoadRequest, LoadResult

log = logging.getLogger(__name__)

KIND = "load"


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """What a load's thread posts to the loop."""

    request: LoadRequest
    result: LoadResult | None
    reason: str = ""


class Loads:
    """Starts loads and stops those that nobody wants any more."""

    def __init__(self, parts: Parts, post: Callable[[LoadEnded], None]) -> None:
        self._parts = parts
        self._post = post
        self._stops: dict[tuple[str, int], threading.Event] = {}

    def recover(self, outbox: Outbox) -> None:
        """After a restart: half a load is no result."""
        for run in self._parts.state.runs(KIND):
            if run.phase is BenchmarkPhase.RUNNING:
                reason = "interrupted by a restart of the agent"
                self._parts.state.put_run(KIND, replace(run, phase=BenchmarkPhase.FAILED, reason=reason))
                outbox.event("load.interrupted", reason=f"{run.request_id}: {reason}")

    def start(self, request: LoadRequest, wanted: Wanted | None, live: Live | None) -> None:
        """Persist that it runs, then let it run.

        Raises:
            ConflictError: the model went down meanwhile.
        """
        if request.model_id and live is None:
            raise ConflictError(f"model {request.model_id} is not up any more")
        self._parts.state.put_run(KIND, Run(request.request_id, request.attempt, BenchmarkPhase.RUNNING, starts=1))
        hit("load: marked running")
        stop = self._stops[_key(request)] = threading.Event()
        inputs = self._inputs(request, wanted)
        slo_ns = live.grant.slo.latency_ns if live is not None else 0
        http_port = live.http_port if live is not None else 0

        def run() -> None:
            self._post(self._run(request, http_port, slo_ns, inputs, stop))

        threading.Thread(target=run, name=f"load-{request.request_id}", daemon=True).start()

    def fail(self, request: LoadRequest, reason: str) -> None:
        """Conclude a load that cannot be run."""
        log.warning("load %s failed: %s", request.request_id, reason)
        run = Run(request.request_id, request.attempt, BenchmarkPhase.FAILED, reason=reason[:500])
        self._parts.state.put_run(KIND, run, self._empty_result(request, reason))

    def ended(self, message: LoadEnded) -> None:
        """Store the result and queue its report."""
        self._stops.pop(_key(message.request), None)
        if message.result is None:
            self.fail(message.request, message.reason)
            return
        run = Run(message.request.request_id, message.request.attempt, BenchmarkPhase.FINISHED, starts=1)
        self._parts.state.put_run(KIND, run, message.result)
        hit("load: report queued")

    def keep_only(self, wanted: Wanted | None) -> None:
        """Stop what left the desired state."""
        keys = {_key(request) for request in (wanted.loads if wanted else ())}
        for key, stop in self._stops.items():
            if key not in keys:
                stop.set()

    def _run(
        self, request: LoadRequest, http_port: int, slo_ns: int, inputs: Path | None, stop: threading.Event
    ) -> LoadEnded:
        try:
            result = self._parts.load.run(request, http_port, slo_ns, inputs, stop)
        except MusterError as error:
            return LoadEnded(request, None, str(error))
        except Exception as error:
            log.exception("load %s failed unexpectedly", request.request_id)
            return LoadEnded(request, None, f"{type(error).__name__}: {error}")
        emulation = result.emulation or self._parts.inventory().emulation
        return LoadEnded(
            request,
            replace(result, request_id=request.request_id, attempt=request.attempt, emulation=emulation),
        )

    def _inputs(self, request: LoadRequest, wanted: Wanted | None) -> Path | None:
        """Real inputs of the model: its evaluation set when it is here, otherwise its goldens."""
        model = wanted.model(request.model_id) if wanted and request.model_id else None
        cached = self._parts.cache.cached()
        manifests = model.manifests if model else ()
        refs = [*(item.evaluation for item in manifests), *(item.golden for item in manifests)]
        here = [ref for ref in refs if ref is not None and ref.sha256 in cached]
        return self._parts.cache.path(here[0].sha256) if here else None

    def _empty_result(self, request: LoadRequest, reason: str) -> LoadResult:
        now_ns = self._parts.clock.now_ns()
        return LoadResult(
            request_id=request.request_id,
            attempt=request.attempt,
            model_id=request.model_id,
            started_at_ns=now_ns,
            finished_at_ns=now_ns,
            reason=reason[:500],
            emulation=self._parts.inventory().emulation,
        )


def _key(request: LoadRequest) -> tuple[str, int]:
    return request.request_id, request.attempt
