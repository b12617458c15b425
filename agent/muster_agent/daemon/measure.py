"""The benchmark steps: persisted before they run, reported exactly once with their end."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from muster_agent.core.known import Run, configuration_text
from muster_agent.core.plan import MAX_RUN_STARTS
from muster_agent.core.wanted import Wanted
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_agent.daemon.serve import subject_of
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, PermanentError, TemporaryError
from muster_protos.model import BenchmarkPhase, BenchmarkRecord, BenchmarkRequest, DeviceFacts, RecordState, Workload

log = logging.getLogger(__name__)

KIND = "benchmark"


def run_benchmark(
    request: BenchmarkRequest,
    wanted: Wanted | None,
    parts: Parts,
    settings: Settings,
    outbox: Outbox,
    stop: threading.Event,
) -> None:
    """Measure one configuration and queue its record; a child that dies is a failed run, not a failed agent.

    Raises:
        TemporaryError: the run could not begin (rotten bytes); it will be tried again.
        InterruptedError: ``stop`` was set; the run is queued again and the try not counted.
    """
    manifest = wanted.find_variant(request.configuration.variant_id) if wanted else None
    if manifest is None:
        raise ConflictError(f"variant {request.configuration.variant_id} left the desired state meanwhile")
    parts.inventory()  # waits for the proof of the runtimes at the start of the agent: no run beside other children
    subject = subject_of(manifest, parts, outbox)
    before = _run(request, parts)
    running = replace(before, phase=BenchmarkPhase.RUNNING, starts=before.starts + 1, reason="")
    parts.state.put_run(KIND, running)
    hit("benchmark: marked running")
    try:
        record = parts.measurer.benchmark(subject, request, outbox.progress, stop)
    except InterruptedError:
        parts.state.put_run(KIND, replace(before, phase=BenchmarkPhase.QUEUED, reason="gave way to a more urgent step"))
        raise
    except TemporaryError as error:
        parts.state.put_run(KIND, replace(running, phase=BenchmarkPhase.QUEUED, reason=str(error)))
        raise
    except PermanentError as error:
        fail_benchmark(request, str(error), wanted, parts, settings)
        outbox.event("benchmark.failed", model_id=manifest.model_id, reason=f"{request.request_id}: {error}")
        return
    record = replace(
        record, request_id=request.request_id, attempt=request.attempt, boot_id=record.boot_id or settings.boot_id
    )
    hit("benchmark: measured")
    parts.state.put_run(KIND, replace(running, phase=BenchmarkPhase.FINISHED), record)
    hit("benchmark: report queued")


def fail_benchmark(
    request: BenchmarkRequest, reason: str, wanted: Wanted | None, parts: Parts, settings: Settings
) -> None:
    """Conclude a request without figures: an INVALID record says why."""
    log.warning("benchmark %s of %s failed: %s", request.request_id, configuration_text(request.configuration), reason)
    now_ns = parts.clock.now_ns()
    manifest = wanted.find_variant(request.configuration.variant_id) if wanted else None
    record = BenchmarkRecord(
        schema_version=1,
        record_id=f"{request.request_id}.{request.attempt}",
        request_id=request.request_id,
        attempt=request.attempt,
        boot_id=settings.boot_id,
        started_at_ns=now_ns,
        finished_at_ns=now_ns,
        state=RecordState.INVALID,
        reasons=(reason[:2000],),
        emulation=parts.inventory().emulation,
        device=DeviceFacts(device_id=settings.device_id),
        configuration=request.configuration,
        workload=Workload(scenario=request.scenario, seed=request.seed, tier=request.tier),
    )
    if manifest is not None:
        record = replace(
            record,
            model_id=manifest.model_id,
            model_version=manifest.model_version,
            artifact=manifest.artifact,
            format=manifest.format,
            precision=manifest.precision,
        )
    run = replace(_run(request, parts), phase=BenchmarkPhase.FAILED, reason=reason[:500])
    parts.state.put_run(KIND, run, record)


def recover_benchmarks(parts: Parts, outbox: Outbox) -> None:
    """After a restart: runs that were cut off are reported as interrupted and queued again."""
    for run in parts.state.runs(KIND):
        if run.phase is BenchmarkPhase.RUNNING:
            reason = f"interrupted by a restart of the agent, try {run.starts} of {MAX_RUN_STARTS}"
            parts.state.put_run(KIND, replace(run, phase=BenchmarkPhase.QUEUED, reason=reason))
            outbox.event("benchmark.interrupted", reason=f"{run.request_id}: {reason}")


def _run(request: BenchmarkRequest, parts: Parts) -> Run:
    key = (request.request_id, request.attempt)
    found = (run for run in parts.state.runs(KIND) if (run.request_id, run.attempt) == key)
    return next(found, Run(request.request_id, request.attempt, BenchmarkPhase.QUEUED))
