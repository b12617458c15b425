"""How a serving record moves: every change of the durable pointer, as pure functions."""

from __future__ import annotations

from dataclasses import replace

from muster_agent.core.known import Conclusion, ServingRecord, test_key
from muster_agent.core.wanted import WantedModel, same_grant
from muster_protos.model import Configuration, DeploymentState, LocalReady, ServingGrant

CONCLUSIONS_KEPT = 16


def passed_test(record: ServingRecord, deployment_id: str, configuration: Configuration) -> ServingRecord:
    """A configuration of a deployment passed its self-test; tests of other deployments are forgotten."""
    kept = tuple(key for key in record.tested if key.startswith(f"{deployment_id} "))
    tested = tuple(dict.fromkeys((*kept, test_key(deployment_id, configuration))))
    return replace(record, tested=tested, testing="", test_starts=0)


def test_begun(record: ServingRecord, key: str) -> ServingRecord:
    """A self-test is about to run: what a crash from here on finds."""
    return replace(record, testing=key, test_starts=record.test_starts + 1 if record.testing == key else 1)


def test_put_off(record: ServingRecord) -> ServingRecord:
    """The self-test could not run; that is not held against the deployment."""
    return replace(record, testing="", test_starts=0)


def begun(record: ServingRecord, model: WantedModel) -> ServingRecord:
    """``model`` is about to be loaded as the trial: what a crash from here on finds."""
    return replace(record, trial=model, is_trial_active=False, trial_starts=1)


def started_again(record: ServingRecord) -> ServingRecord:
    """The trial, or the last good one that is not trusted yet, is about to be loaded once more."""
    return replace(record, trial_starts=record.trial_starts + 1)


def ready(record: ServingRecord, answer: LocalReady) -> ServingRecord:
    """The target is up; its ports are kept, so that apps find it again after a restart."""
    return replace(
        record,
        is_trial_active=record.trial is not None,
        http_port=answer.http_port or record.http_port,
        grpc_port=answer.grpc_port or record.grpc_port,
    )


def healthy(record: ServingRecord) -> ServingRecord:
    """What is up has been up long enough that its starts are no longer held against it."""
    return replace(record, trial_starts=0, before_good=record.before_good if record.trial is not None else None)


def committed(record: ServingRecord, model: WantedModel) -> ServingRecord:
    """The trial becomes the last good one; one that has not proved healthy can still be gone back from."""
    before = None if record.trial_starts == 0 else record.before_good or record.last_good
    return replace(
        record,
        trial=None,
        is_trial_active=False,
        trial_starts=0 if before is None else record.trial_starts,
        last_good=model,
        before_good=before,
    )


def concluded_with(record: ServingRecord, grant: ServingGrant, state: DeploymentState, reason: str) -> ServingRecord:
    """A deployment is over; what was good before it is the target again."""
    conclusions = (*record.conclusions, Conclusion(grant, state, reason))[-CONCLUSIONS_KEPT:]
    record = replace(record, conclusions=conclusions, testing="", test_starts=0)
    if record.trial is not None and same_grant(record.trial.grant, grant):
        return replace(record, trial=None, is_trial_active=False, trial_starts=0)
    is_last_good = record.last_good is not None and same_grant(record.last_good.grant, grant)
    if is_last_good and record.trial is None and record.before_good is not None:
        return replace(record, last_good=record.before_good, before_good=None, trial_starts=0)
    return record
