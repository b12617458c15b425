"""How a serving record moves: every change of the durable pointer, as pure functions."""

from __future__ import annotations

from dataclasses import replace

from muster_agent.core.known import Conclusion, ServingRecord, test_key
from muster_agent.core.wanted import WantedModel
from muster_protos.model import Configuration, DeploymentState, LocalReady, ServingGrant

CONCLUSIONS_KEPT = 16


def passed_test(record: ServingRecord, deployment_id: str, configuration: Configuration) -> ServingRecord:
    """A configuration of a deployment passed its self-test; tests of other deployments are forgotten."""
    kept = tuple(key for key in record.tested if key.startswith(f"{deployment_id} "))
    return replace(record, tested=tuple(dict.fromkeys((*kept, test_key(deployment_id, configuration)))))


def begun(record: ServingRecord, model: WantedModel) -> ServingRecord:
    """``model`` is about to be loaded as the trial: what a crash from here on finds."""
    return replace(record, trial=model, is_trial_active=False, trial_starts=1)


def started_again(record: ServingRecord) -> ServingRecord:
    """The trial is about to be loaded once more."""
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
    """The trial has been up long enough that its starts are no longer held against it."""
    return replace(record, trial_starts=0)


def committed(record: ServingRecord, model: WantedModel) -> ServingRecord:
    """The trial becomes the last good one."""
    return replace(record, trial=None, is_trial_active=False, trial_starts=0, last_good=model)


def concluded_with(
    record: ServingRecord, grant: ServingGrant, state: DeploymentState, reason: str, is_trial: bool
) -> ServingRecord:
    """A deployment is over; when it was the trial, the last good one is the target again."""
    conclusions = (*record.conclusions, Conclusion(grant, state, reason))[-CONCLUSIONS_KEPT:]
    if not is_trial:
        return replace(record, conclusions=conclusions)
    return replace(record, conclusions=conclusions, trial=None, is_trial_active=False, trial_starts=0)
