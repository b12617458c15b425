"""/v1/decisions, /v1/policies, /v1/rollouts, /v1/loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from muster_controller.core.entities import Decision, Deployment, DeviceLoad, ModelPolicy, Rollout
from muster_controller.service.devices import ALL
from muster_controller.service.loads import LoadOrder
from muster_controller.service.rollout import RolloutOrder
from muster_controller.web.bodies import Body, LoadBody, RolloutBody, SelectBody
from muster_controller.web.replies import Items, items, page, reply
from muster_controller.web.scope import Cursor, Limit, ServiceOf
from muster_protos.model import LoadPhase

router = APIRouter(tags=["decisions"])


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout and each device's part of it."""

    rollout: Rollout
    deployments: tuple[Deployment, ...]


class SteerBody(Body):
    """Why; it is kept with the rollout and shown."""

    reason: Annotated[str, Field(max_length=300)] = ""


@dataclass(frozen=True, slots=True)
class RollbackView:
    """The devices on which nothing of the model would be served after a rollback."""

    rollout_id: str
    bare_device_ids: tuple[str, ...]


@router.post("/decisions", response_model=Items[Decision], status_code=201)
def select(service: ServiceOf, body: SelectBody) -> Response:
    """One decision per device; a device that nothing satisfies gets one too, with the nearest miss.

    With ``dry_run`` (200 instead of 201) nothing is stored, the decisions have no id, and the policy is not kept.
    """
    model = service.models.get(body.model)
    devices = service.devices.resolve(body.devices, body.labels)
    if body.dry_run:
        return reply({"items": service.selections.preview(model, body.policy_yaml, devices), "next_cursor": ""})
    found = service.selections.select(model, body.policy_yaml, devices)
    return reply({"items": found, "next_cursor": ""}, 201)


@router.get("/decisions", response_model=Items[Decision])
def list_decisions(
    service: ServiceOf, model: str = "", device: str = "", cursor: Cursor = "", limit: Limit = 100
) -> Response:
    """Newest first."""
    device_id = service.devices.get(device).device_id if device else None
    return page(service.selections.list(model or None, device_id, cursor, limit))


@router.get("/decisions/{decision}", response_model=Decision)
def get_decision(service: ServiceOf, decision: str) -> Response:
    return reply(service.selections.get(decision))


@router.get("/policies", response_model=Items[ModelPolicy])
def list_policies(service: ServiceOf) -> Response:
    return items(service.selections.policies())


@router.delete("/policies/{model}", status_code=204)
def remove_policy(service: ServiceOf, model: str) -> Response:
    service.selections.forget_policy(model)
    return Response(status_code=204)


@router.post("/rollouts", response_model=RolloutView, status_code=202)
def start_rollout(service: ServiceOf, body: RolloutBody) -> Response:
    order = RolloutOrder(
        policy_yaml=body.policy_yaml,
        canary=body.canary,
        canary_labels=body.canary_labels,
        waves=tuple(body.waves),
        deadline_s=body.deadline_s,
        error_threshold_ratio=body.error_threshold_ratio,
        success_threshold_ratio=body.success_threshold_ratio,
        pauses_after_wave=body.pauses_after_wave,
        leaves_undecided_out=not body.devices or ALL in body.devices,
    )
    model = service.models.get(body.model)
    rollout = service.rollouts.start(model, service.devices.resolve(body.devices, body.labels), order)
    return reply(_view(service, rollout), 202)


@router.get("/rollouts", response_model=Items[Rollout])
def list_rollouts(service: ServiceOf, cursor: Cursor = "", limit: Limit = 100) -> Response:
    return page(service.rollouts.list(cursor, limit))


@router.get("/rollouts/{rollout}", response_model=RolloutView)
def get_rollout(service: ServiceOf, rollout: str) -> Response:
    return reply(_view(service, service.rollouts.get(rollout)))


@router.get("/rollouts/{rollout}/rollback", response_model=RollbackView)
def look_at_rollback(service: ServiceOf, rollout: str) -> Response:
    """What a rollback would leave behind; nothing is changed."""
    return reply(RollbackView(rollout, service.rollouts.bare_after_rollback(rollout)))


@router.post("/rollouts/{rollout}/{action}", response_model=RolloutView)
def steer_rollout(
    service: ServiceOf,
    rollout: str,
    action: Literal["pause", "approve", "resume", "abort", "rollback"],
    body: SteerBody | None = None,
) -> Response:
    """``approve`` starts the next wave once this one is through; ``resume`` lifts any hold."""
    reason = body.reason if body else ""
    match action:
        case "pause":
            found = service.rollouts.pause(rollout, reason)
        case "approve":
            found = service.rollouts.approve(rollout, reason)
        case "resume":
            found = service.rollouts.resume(rollout, reason)
        case "abort":
            found = service.rollouts.abort(rollout, reason)
        case "rollback":
            found = service.rollouts.roll_back(rollout, reason)
    return reply(_view(service, found))


@router.post("/loads", response_model=DeviceLoad, status_code=202)
def start_load(service: ServiceOf, body: LoadBody) -> Response:
    device = service.devices.get(body.device)
    order = LoadOrder(
        model_id=service.models.get(body.model).model_id if body.model else "",
        phases=tuple(LoadPhase(phase.rate_hz, phase.duration_ms, phase.concurrency) for phase in body.phases),
        cpu_ratio=body.cpu_ratio,
        seed=body.seed,
    )
    return reply(service.loads.start(device, order), 202)


@router.get("/loads", response_model=Items[DeviceLoad])
def list_loads(service: ServiceOf, device: str = "") -> Response:
    return items(service.loads.list(service.devices.get(device).device_id if device else None))


@router.get("/loads/{load}", response_model=DeviceLoad)
def get_load(service: ServiceOf, load: str) -> Response:
    return reply(service.loads.get(load))


def _view(service: ServiceOf, rollout: Rollout) -> RolloutView:
    return RolloutView(rollout, service.rollouts.deployments(rollout.rollout_id))
