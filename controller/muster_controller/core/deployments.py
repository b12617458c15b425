"""Which deployment is in force on a device, and how a deployment follows what the device reports."""

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
_GIVEN_UP = frozenset({DeploymentState.ROLLED_BACK, DeploymentState.FAILED, DeploymentState.CANCELLED})


def has_failed(deployment: Deployment) -> bool:
    """It will never serve: rolled back, failed or cancelled."""
    return deployment.state in _GIVEN_UP


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
    committed deployment that the device had to give up later (its artifact rotted, three starts failed).
    """
    if reported.deployment_id != deployment.deployment_id or deployment.started_at_ns <= 0:
        return None
    if reported.state in _GIVEN_UP:
        if has_failed(deployment):
            return None
        return replace(deployment, state=reported.state, reason=reported.reason, updated_at_ns=now_ns)
    if reported.state not in _ORDER or has_failed(deployment):
        return None
    if _ORDER.index(reported.state) <= _ORDER.index(deployment.state):
        return None
    return replace(deployment, state=reported.state, reason=reported.reason, updated_at_ns=now_ns)


def _age(deployment: Deployment) -> tuple[int, str]:
    return (deployment.started_at_ns, deployment.deployment_id)
