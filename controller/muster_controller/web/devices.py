"""/v1/devices, /v1/tokens, /v1/fleet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from muster_controller.core.entities import Device, JoinToken
from muster_controller.service.fleet import FleetStatus
from muster_controller.service.tokens import NewToken
from muster_controller.web.bodies import DevicePatch, TokenBody
from muster_controller.web.replies import Items, items, page, reply
from muster_controller.web.scope import Cursor, LabelsOf, Limit, ServiceOf
from muster_protos.model import Telemetry

router = APIRouter(tags=["fleet"])


@router.get("/fleet", response_model=FleetStatus)
def get_fleet(service: ServiceOf) -> Response:
    return reply(service.status())


@router.get("/tokens", response_model=Items[JoinToken])
def list_tokens(service: ServiceOf) -> Response:
    return items(service.tokens.list())


@router.post("/tokens", response_model=NewToken, status_code=201)
def new_token(service: ServiceOf, body: TokenBody) -> Response:
    return reply(service.tokens.new(body.lifetime_s, body.uses, body.note), 201)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(service: ServiceOf, token_id: str) -> Response:
    service.tokens.revoke(token_id)
    return Response(status_code=204)


@router.get("/devices", response_model=Items[Device])
def list_devices(service: ServiceOf, labels: LabelsOf, cursor: Cursor = "", limit: Limit = 100) -> Response:
    return page(service.devices.list(labels or None, cursor, limit))


@router.get("/devices/{device}", response_model=Device)
def get_device(service: ServiceOf, device: str) -> Response:
    return reply(service.devices.get(device))


@router.patch("/devices/{device}", response_model=Device)
def change_device(service: ServiceOf, device: str, body: DevicePatch) -> Response:
    found = service.devices.get(device)
    if body.name is not None:
        found = service.devices.rename(found.device_id, body.name)
    if body.labels or body.remove_labels:
        found = service.devices.tag(found.device_id, body.labels, body.remove_labels)
    return reply(found)


@router.delete("/devices/{device}", response_model=Device)
def remove_device(service: ServiceOf, device: str) -> Response:
    return reply(service.devices.remove(device))


@router.get("/devices/{device}/telemetry", response_model=Items[Telemetry])
def list_telemetry(
    service: ServiceOf, device: str, since_ns: Annotated[int, Query(ge=0)] = 0, model: str = "", limit: Limit = 1000
) -> Response:
    return items(service.telemetry(device, since_ns, model or None, limit))
