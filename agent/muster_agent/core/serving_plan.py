"""The serving steps of one model: from a grant to an active, committed or rolled back deployment."""

from __future__ import annotations

from collections.abc import Iterator

from muster_agent.core.known import Conclusion, Facts, Known, Live, ServingRecord, bad_key, test_key
from muster_agent.core.steps import Activate, Commit, Resume, Rollback, SelfTest, Step, StopServing
from muster_agent.core.wanted import WantedModel, same_grant, serving_artifacts
from muster_protos.model import DeploymentState, ServingGrant

MAX_STARTS = 3  # loads or self-tests of a deployment that may be cut off before it is rolled back


def serving_steps(
    model_id: str, wanted: WantedModel | None, has_desired: bool, known: Known, facts: Facts
) -> Iterator[Step]:
    """What is left to do to serve one model as granted; nothing when it is."""
    record = known.serving.get(model_id, ServingRecord(model_id))
    live = facts.live.get(model_id)
    if has_desired and (wanted is None or wanted.grant is None):
        if record.target is not None or live is not None:
            yield StopServing(model_id, "no longer granted")
        return
    settling = _settle_trial(wanted, record, facts)
    if settling is not None:
        yield settling
        return
    target = record.target
    if not facts.is_writable and not record.is_trial_active:
        target = record.last_good or target  # a trial whose starts cannot be counted is not begun
    if target is not None:
        yield from _keep_up(target, live, known)
    if wanted is not None and wanted.grant is not None:
        yield from _advance(wanted, wanted.grant, record, live, known, facts)


def concluded(record: ServingRecord, grant: ServingGrant) -> Conclusion | None:
    """How this very grant ended before; None when it has not been concluded."""
    return next((item for item in reversed(record.conclusions) if same_grant(item.grant, grant)), None)


def missing_artifacts(wanted: WantedModel, known: Known) -> frozenset[str]:
    """sha256 of what the ladder needs and the cache lacks."""
    return frozenset(ref.sha256 for ref in serving_artifacts(wanted)) - known.cached


def refusal(wanted: WantedModel, known: Known) -> str:
    """Why a granted ladder can never be served here; "" when it can."""
    if not wanted.ladder():
        return "the granted ladder is empty"
    for configuration in wanted.ladder():
        manifest = wanted.manifest(configuration.variant_id)
        if manifest is None:
            return f"the ladder names {configuration.variant_id!r}, which has no manifest in the desired state"
        reason = known.bad.get(bad_key(manifest.artifact.sha256, configuration))
        if reason is not None:
            return f"{configuration.variant_id} is marked bad: {reason}"
    return ""


def _settle_trial(wanted: WantedModel | None, record: ServingRecord, facts: Facts) -> Step | None:
    """Roll a trial back that never starts, was withdrawn, or was not committed in time: online or not, first or not.

    Without a last good one nothing is served afterwards, as the controller has it: silence was failure there, too.
    """
    trial = record.trial
    if trial is None:
        return _settle_untrusted(record, facts)
    model_id, deployment_id = record.model_id, trial.deployment_id
    live = facts.live.get(model_id)
    if record.trial_starts >= MAX_STARTS and not (live is not None and same_grant(live.grant, trial.grant)):
        return _failed_starts(trial, record, facts)
    newest = trial.grant if wanted is None else wanted.grant
    if newest is None:
        return None
    is_newest = same_grant(newest, trial.grant)
    good = record.last_good
    if good is not None and same_grant(newest, good.grant) and not is_newest:
        reason = f"withdrawn: the desired state went back to {newest.deployment_id}"
        return Rollback(model_id, deployment_id, DeploymentState.CANCELLED, reason)
    # The newest grant may have committed it or given it more time; a trial that another is to follow keeps its own.
    held = newest if is_newest else trial.grant
    if held is not None and _is_overdue(held, facts):
        reason = "not committed before the deployment's deadline"
        return Rollback(model_id, deployment_id, DeploymentState.ROLLED_BACK, reason)
    return None


def _is_overdue(grant: ServingGrant, facts: Facts) -> bool:
    return not grant.is_committed and 0 < grant.deadline_ns < facts.now_ns


def _settle_untrusted(record: ServingRecord, facts: Facts) -> Step | None:
    """Go back from a deployment that was committed, but has never been up for long, when it does not start."""
    last_good, live = record.last_good, facts.live.get(record.model_id)
    if last_good is None or record.before_good is None or record.trial_starts < MAX_STARTS:
        return None
    if live is not None and same_grant(live.grant, last_good.grant):
        return None
    return _failed_starts(last_good, record, facts)


def _failed_starts(model: WantedModel, record: ServingRecord, facts: Facts) -> Rollback:
    why = facts.problems.get(f"serve {model.model_id} {model.deployment_id}", "it never became healthy")
    reason = f"{record.trial_starts} failed starts: {why}"
    return Rollback(model.model_id, model.deployment_id, DeploymentState.ROLLED_BACK, reason, is_start_failure=True)


def _keep_up(target: WantedModel, live: Live | None, known: Known) -> Iterator[Step]:
    """Load the target when it is not up, or when more of its variants are here than it was given."""
    here = available_variants(target, known)
    if not here:
        return
    is_up = live is not None and same_grant(live.grant, target.grant)
    if not is_up or (live is not None and set(here) > set(live.variant_ids)):
        yield Resume(target.model_id, target.deployment_id, here)


def available_variants(target: WantedModel, known: Known) -> tuple[str, ...]:
    """The ladder's variants whose bytes are in the cache, best first."""
    here: list[str] = []
    for configuration in target.ladder():
        manifest = target.manifest(configuration.variant_id)
        if manifest is None or configuration.variant_id in here:
            continue
        needed = {ref.sha256 for ref in (manifest.artifact, manifest.golden) if ref is not None and ref.sha256}
        if needed <= known.cached:
            here.append(configuration.variant_id)
    return tuple(here)


def _advance(
    wanted: WantedModel, grant: ServingGrant, record: ServingRecord, live: Live | None, known: Known, facts: Facts
) -> Iterator[Step]:
    """The next steps of the granted deployment itself."""
    model_id, deployment_id = wanted.model_id, grant.deployment_id
    if record.trial is not None and same_grant(grant, record.trial.grant):
        if grant.is_committed and live is not None and same_grant(live.grant, grant):
            yield Commit(model_id, deployment_id)
        return
    if record.trial is None and record.last_good is not None and same_grant(grant, record.last_good.grant):
        return
    if concluded(record, grant) is not None:
        return
    reason = refusal(wanted, known)
    if not reason and _is_overdue(grant, facts):  # nobody would commit it any more
        reason = "not active before the deployment's deadline"
    if reason:
        yield Rollback(model_id, deployment_id, DeploymentState.FAILED, reason)
        return
    if missing_artifacts(wanted, known):
        return
    if record.test_starts >= MAX_STARTS and record.testing.startswith(f"{deployment_id} "):
        what = record.testing.partition(" ")[2]
        reason = f"the self-test of {what} was cut off {record.test_starts} times, the device or the agent went down"
        yield Rollback(model_id, deployment_id, DeploymentState.ROLLED_BACK, reason, is_start_failure=True)
        return
    untested = [item for item in wanted.ladder() if test_key(deployment_id, item) not in record.tested]
    yield from (SelfTest(model_id, deployment_id, item) for item in dict.fromkeys(untested))
    yield Activate(model_id, deployment_id)
