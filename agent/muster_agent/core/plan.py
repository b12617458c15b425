"""``plan``: from what is wanted and what is known to the steps that are left. Pure and total.

The runner does the first step and plans again, so a plan is a preview, not a promise: messages that were lost,
repeated or reordered, restarts and days offline need no code of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

from muster_agent.core.known import Facts, Known, Run
from muster_agent.core.serving_plan import serving_steps
from muster_agent.core.steps import (
    Collect,
    FailBenchmark,
    FailLoad,
    Fetch,
    Forget,
    RunBenchmark,
    RunLoad,
    Step,
    step_key,
)
from muster_agent.core.wanted import Wanted, artifacts_of, serving_artifacts
from muster_protos.model import ArtifactRef, BenchmarkPhase, BenchmarkRequest, LoadRequest

MAX_RUN_STARTS = 3  # tries of a benchmark that restarts cut off


def plan(wanted: Wanted | None, known: Known, facts: Facts) -> tuple[Step, ...]:
    """The steps left, most urgent first; empty when there is nothing to do now.

    Serving comes before fetching, fetching before measuring, cleaning last. Without a desired state the last good
    models are kept up and nothing is removed.
    """
    steps = (
        *_serving(wanted, known, facts),
        *_fetches(wanted, known),
        *_loads(wanted, known, facts),
        *_benchmarks(wanted, known),
        *_cleaning(wanted, known),
    )
    return tuple(
        step for step in steps if step_key(step) not in facts.held and (facts.is_online or not isinstance(step, Fetch))
    )


def kept_artifacts(wanted: Wanted | None, known: Known) -> frozenset[str]:
    """sha256 of what garbage collection must keep: desired, active (trial) and last good."""
    refs = [
        ref for model in (wanted.models if wanted else ()) for item in model.manifests for ref in artifacts_of(item)
    ]
    for record in known.serving.values():
        for model in record.models:
            refs.extend(serving_artifacts(model))
    return frozenset(ref.sha256 for ref in refs)


def _serving(wanted: Wanted | None, known: Known, facts: Facts) -> Iterator[Step]:
    wanted_ids = [model.model_id for model in wanted.models] if wanted else []
    for model_id in dict.fromkeys((*known.serving, *facts.live, *wanted_ids)):
        model = wanted.model(model_id) if wanted else None
        yield from serving_steps(model_id, model, wanted is not None, known, facts)


def _fetches(wanted: Wanted | None, known: Known) -> Iterator[Step]:
    refs: list[ArtifactRef] = []
    for record in known.serving.values():
        if record.target is not None:
            refs.extend(serving_artifacts(record.target))
    for model in wanted.models if wanted else ():
        refs.extend(serving_artifacts(model))
    for model in wanted.models if wanted else ():
        refs.extend(ref for manifest in model.manifests for ref in artifacts_of(manifest))
    by_sha256 = {ref.sha256: ref for ref in reversed(refs)}
    for sha256 in dict.fromkeys(ref.sha256 for ref in refs):
        if sha256 not in known.cached:
            yield Fetch(by_sha256[sha256])


def _loads(wanted: Wanted | None, known: Known, facts: Facts) -> Iterator[Step]:
    for request in wanted.loads if wanted else ():
        run = _find(known.loads, request)
        if run is not None and run.phase is not BenchmarkPhase.QUEUED:
            continue
        if 0 < request.expires_at_ns < facts.now_ns:
            yield FailLoad(request, "it expired before it could start")
        elif not request.model_id or request.model_id in facts.live:
            yield RunLoad(request)
        elif not request.expires_at_ns or not _may_come_up(wanted, request.model_id):
            yield FailLoad(request, f"model {request.model_id!r} is not served on this device")


def _may_come_up(wanted: Wanted | None, model_id: str) -> bool:
    model = wanted.model(model_id) if wanted else None
    return model is not None and model.grant is not None


def _benchmarks(wanted: Wanted | None, known: Known) -> Iterator[Step]:
    if wanted is None or any(run.phase is BenchmarkPhase.RUNNING for run in known.loads):
        return  # a measurement beside a load that we make ourselves would be worthless
    for request in wanted.benchmarks:
        run = _find(known.benchmarks, request)
        if run is not None and run.phase in (BenchmarkPhase.FINISHED, BenchmarkPhase.FAILED):
            continue
        manifest = wanted.find_variant(request.configuration.variant_id)
        if manifest is None:
            variant = request.configuration.variant_id
            yield FailBenchmark(request, f"variant {variant!r} has no manifest in the desired state")
        elif run is not None and run.phase is BenchmarkPhase.QUEUED and run.starts >= MAX_RUN_STARTS:
            yield FailBenchmark(request, f"interrupted {run.starts} times by restarts of the agent")
        elif {ref.sha256 for ref in artifacts_of(manifest)} <= known.cached:
            yield RunBenchmark(request)


def _cleaning(wanted: Wanted | None, known: Known) -> Iterator[Step]:
    if wanted is None:
        return
    open_benchmarks = {(item.request_id, item.attempt) for item in wanted.benchmarks}
    open_loads = {(item.request_id, item.attempt) for item in wanted.loads}
    benchmarks = _stale(known.benchmarks, open_benchmarks)
    loads = _stale(known.loads, open_loads)
    if benchmarks or loads:
        yield Forget(benchmarks, loads)
    garbage = (known.cached | frozenset(known.partial_bytes)) - kept_artifacts(wanted, known)
    if garbage:
        yield Collect(tuple(sorted(garbage)))


def _stale(runs: tuple[Run, ...], still_open: set[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    keys = ((run.request_id, run.attempt) for run in runs if run.phase is not BenchmarkPhase.RUNNING)
    return tuple(key for key in keys if key not in still_open)


def _find(runs: tuple[Run, ...], request: BenchmarkRequest | LoadRequest) -> Run | None:
    key = (request.request_id, request.attempt)
    return next((run for run in runs if (run.request_id, run.attempt) == key), None)
