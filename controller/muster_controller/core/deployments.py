"""Which deployment is in force on a device, how one follows what the device reports, and what a newer one ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from muster_controller.core.entities import Deployment
from muster_protos.model import DeploymentState, ReportedServing

_ORDER = (
    DeploymentState.PENDING,
    DeploymentState.FETCHED,
    DeploymentState.VERIFIED,
    DeploymentState.SELF_TESTED,
    DeploymentState.ACTIVATED,
    DeploymentState.COMMITTED,
)
_FAILED = frozenset({DeploymentState.ROLLED_BACK, DeploymentState.FAILED})
_GIVEN_UP = _FAILED | {DeploymentState.CANCELLED}
_MAX_REASON = 1000


def has_failed(deployment: Deployment) -> bool:
    """It will never serve: rolled back, failed or cancelled."""
    return deployment.state in _GIVEN_UP


def counts(deployment: Deployment) -> bool:
    """Whether its rollout is judged by it: not when nobody wants it any more (superseded, removed before its wave)."""
    return deployment.state is not DeploymentState.CANCELLED


def is_failure(deployment: Deployment) -> bool:
    """It speaks against the release: rolled back, failed or silent."""
    return deployment.state in _FAILED


def is_settled(deployment: Deployment) -> bool:
    """Nothing more is awaited from the device."""
    return deployment.state is DeploymentState.COMMITTED or has_failed(deployment)


def is_underway(deployment: Deployment) -> bool:
    """Started, and the device has not settled it."""
    return deployment.started_at_ns > 0 and not is_settled(deployment)


def in_force(deployments: Iterable[Deployment]) -> tuple[Deployment, ...]:
    """What each device should serve: per device and model the newest started deployment that has not failed.

    A deployment that failed or was rolled back thereby uncovers the one before it. Ordered by device and model.
    """
    newest: dict[tuple[str, str], Deployment] = {}
    for deployment in deployments:
        if deployment.started_at_ns <= 0 or has_failed(deployment):
            continue
        key = (deployment.device_id, deployment.model_id)
        if key not in newest or _age(deployment) > _age(newest[key]):
            newest[key] = deployment
    return tuple(newest[key] for key in sorted(newest))


def advance(deployment: Deployment, reported: ReportedServing, now_ns: int) -> Deployment | None:
    """The deployment after the device's report, or None when the report changes nothing.

    A state never goes back (reports may come late or twice), and what has settled stays settled, but for one case: a
    committed deployment that the device had to give up later (its artifact rotted, three starts failed). Only the
    controller cancels: a device that says so has given up what it should serve.
    """
    is_other = reported.deployment_id != deployment.deployment_id
    if is_other or deployment.started_at_ns <= 0 or has_failed(deployment):
        return None
    reason = reported.reason[:_MAX_REASON]
    if reported.state in _GIVEN_UP:
        state = DeploymentState.FAILED if reported.state is DeploymentState.FAILED else DeploymentState.ROLLED_BACK
        return replace(deployment, state=state, reason=reason or "the device gave no reason", updated_at_ns=now_ns)
    if reported.state not in _ORDER or _ORDER.index(reported.state) < _ORDER.index(deployment.state):
        return None
    if reported.state is deployment.state and reason == deployment.reason:
        return None
    # What a device has kept is kept here, too: granted again later, it must not be bound to a deadline of long ago.
    is_committed = deployment.grant.is_committed or reported.state is DeploymentState.COMMITTED
    grant = replace(deployment.grant, is_committed=is_committed)
    return replace(deployment, grant=grant, state=reported.state, reason=reason, updated_at_ns=now_ns)


def superseded(newer: Deployment, older: Iterable[Deployment], now_ns: int) -> tuple[Deployment, ...]:
    """Those of ``older`` (of rollouts that began before) which are over as soon as ``newer`` starts on its device."""
    reason = f"superseded by {newer.rollout_id}"
    return tuple(
        replace(item, state=DeploymentState.CANCELLED, reason=reason, updated_at_ns=now_ns)
        for item in older
        if (item.device_id, item.model_id) == (newer.device_id, newer.model_id)
        and item.rollout_id != newer.rollout_id
        and not is_settled(item)
    )


def after_all(started: Deployment, others: Iterable[Deployment]) -> Deployment:
    """``started`` as the newest of its device and model, also when the clock was set back since the others started."""
    mine = (started.device_id, started.model_id)
    newest_ns = max((item.started_at_ns for item in others if (item.device_id, item.model_id) == mine), default=0)
    return replace(started, started_at_ns=max(started.started_at_ns, newest_ns + 1))


def _age(deployment: Deployment) -> tuple[int, str]:
    return (deployment.started_at_ns, deployment.deployment_id)
