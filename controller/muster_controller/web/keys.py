"""/v1/keys: the fleet's signing keys."""

from __future__ import annotations

from fastapi import APIRouter, Response

from muster_controller.service.keys import FleetKey
from muster_controller.web.bodies import RotationBody
from muster_controller.web.replies import Items, items
from muster_controller.web.scope import ServiceOf

router = APIRouter(tags=["fleet"])


@router.get("/keys", response_model=Items[FleetKey])
def list_keys(service: ServiceOf) -> Response:
    """Public halves, the key that signs today first."""
    return items(service.keys.list())


@router.post("/keys/rotations", response_model=Items[FleetKey], status_code=201)
def rotate_key(service: ServiceOf, body: RotationBody) -> Response:
    """A new key signs from now on; the old one counts for ``overlap_s`` seconds more."""
    return items(service.keys.rotate(body.overlap_s), status_code=201)
