"""The reported state: what the device says of itself in answer to the desired one. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from muster_agent.core.known import Facts, Known, Live, Run, ServingRecord, test_key
from muster_agent.core.serving_plan import concluded, missing_artifacts
from muster_agent.core.wanted import Wanted, WantedModel, artifacts_of, same_grant
from muster_protos.model import (
    ArtifactState,
    BenchmarkPhase,
    BenchmarkRequest,
    DeploymentState,
    LoadRequest,
    ReportedArtifact,
    ReportedBenchmark,
    ReportedServing,
    ReportedState,
    ServingGrant,
)

_DONE = (BenchmarkPhase.FINISHED, BenchmarkPhase.FAILED)
_UP = (DeploymentState.ACTIVATED, DeploymentState.COMMITTED)


def reported_state(
    device_id: str, boot_id: str, wanted: Wanted | None, known: Known, facts: Facts, refused: str = ""
) -> ReportedState:
    """Everything at once. ``refused`` says why a newer desired state was not adopted."""
    artifacts = tuple(_artifacts(wanted, known, facts))
    serving = tuple(_serving(wanted, known, facts))
    benchmarks = tuple(_run(known.benchmarks, item) for item in (wanted.benchmarks if wanted else ()))
    loads = tuple(_run(known.loads, item) for item in (wanted.loads if wanted else ()))
    reason = refused or _reason(wanted, artifacts, serving, benchmarks + loads)
    return ReportedState(
        device_id=device_id,
        epoch=wanted.epoch if wanted else 0,
        desired_version=wanted.version if wanted else 0,
        boot_id=boot_id,
        is_converged=not reason,
        artifacts=artifacts,
        serving=serving,
        benchmarks=benchmarks,
        reason=reason,
        at_ns=facts.now_ns,
        loads=loads,
    )


def _artifacts(wanted: Wanted | None, known: Known, facts: Facts) -> Iterator[ReportedArtifact]:
    bad = {key.partition(" ")[0]: f"{key.partition(' ')[2]}: {reason}" for key, reason in known.bad.items()}
    manifests = [manifest for model in (wanted.models if wanted else ()) for manifest in model.manifests]
    refs = {ref.sha256: ref for manifest in manifests for ref in artifacts_of(manifest)}
    for sha256, ref in refs.items():
        if sha256 in bad:
            yield ReportedArtifact(sha256, ArtifactState.BAD, ref.size_bytes, ref.size_bytes, bad[sha256])
        elif sha256 in known.cached:
            yield ReportedArtifact(sha256, ArtifactState.VERIFIED, ref.size_bytes, ref.size_bytes)
        else:
            fetched = known.partial_bytes.get(sha256, 0)
            problem = facts.problems.get(f"fetch {sha256}", "")
            yield ReportedArtifact(sha256, ArtifactState.FETCHING, fetched, ref.size_bytes, problem)


def _serving(wanted: Wanted | None, known: Known, facts: Facts) -> Iterator[ReportedServing]:
    wanted_ids = [model.model_id for model in (wanted.models if wanted else ()) if model.grant is not None]
    for model_id in dict.fromkeys((*wanted_ids, *known.serving, *facts.live)):
        record = known.serving.get(model_id, ServingRecord(model_id))
        live = facts.live.get(model_id)
        model = wanted.model(model_id) if wanted else None
        shown = model if model is not None and model.grant is not None else record.target
        if shown is None or shown.grant is None:
            continue
        state, reason = deployment_state(shown, shown.grant, record, live, known, facts)
        yield ReportedServing(
            model_id=model_id,
            deployment_id=shown.deployment_id,
            state=state,
            reason=reason,
            active_variant_id=live.active_variant_id if live else "",
            resident_variant_ids=live.resident_variant_ids if live else (),
            http_port=live.http_port if live else 0,
            grpc_port=live.grpc_port if live else 0,
        )


def deployment_state(
    model: WantedModel, grant: ServingGrant, record: ServingRecord, live: Live | None, known: Known, facts: Facts
) -> tuple[DeploymentState, str]:
    """How far a deployment is, and why it is no further."""
    problem = facts.problems.get(f"serve {model.model_id} {grant.deployment_id}", "")
    if record.trial is not None and same_grant(grant, record.trial.grant):
        is_up = live is not None and same_grant(live.grant, grant)
        if is_up or record.is_trial_active:
            return DeploymentState.ACTIVATED, "" if is_up else problem or "not up at the moment"
        return DeploymentState.SELF_TESTED, problem
    if record.last_good is not None and same_grant(grant, record.last_good.grant):
        is_up = live is not None and same_grant(live.grant, grant)
        return DeploymentState.COMMITTED, "" if is_up else problem or "not up at the moment"
    conclusion = concluded(record, grant)
    if conclusion is not None:
        return conclusion.state, conclusion.reason
    missing = missing_artifacts(model, known)
    if missing:
        problems = [facts.problems[key] for sha256 in sorted(missing) if (key := f"fetch {sha256}") in facts.problems]
        return DeploymentState.PENDING, problems[0] if problems else ""
    if model.ladder() and all(test_key(grant.deployment_id, item) in record.tested for item in model.ladder()):
        return DeploymentState.SELF_TESTED, problem
    return DeploymentState.VERIFIED, ""


def _run(runs: tuple[Run, ...], request: BenchmarkRequest | LoadRequest) -> ReportedBenchmark:
    key = (request.request_id, request.attempt)
    run = next((item for item in runs if (item.request_id, item.attempt) == key), None)
    if run is None:
        return ReportedBenchmark(request.request_id, request.attempt, BenchmarkPhase.QUEUED)
    return ReportedBenchmark(run.request_id, run.attempt, run.phase, run.reason)


def _reason(
    wanted: Wanted | None,
    artifacts: tuple[ReportedArtifact, ...],
    serving: tuple[ReportedServing, ...],
    runs: tuple[ReportedBenchmark, ...],
) -> str:
    """The first thing that keeps the device from being what it should; "" when it is."""
    if wanted is None:
        return "no desired state has been received yet"
    for artifact in artifacts:
        if artifact.state is ArtifactState.FETCHING:
            return f"artifact {artifact.sha256[:12]}: {artifact.reason or 'not fetched yet'}"
    for item in serving:
        if item.state not in _UP or item.reason:
            return f"model {item.model_id}: {item.state.value}{': ' if item.reason else ''}{item.reason}"
    for run in runs:
        if run.phase not in _DONE:
            return f"{run.request_id} is {run.phase.value}"
    return ""
