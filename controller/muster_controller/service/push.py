"""Variants into device caches: desired here, done by the device, read back from what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muster_controller.core.entities import Device, Model, Push, Variant
from muster_controller.ports import Store
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_protos.model import ArtifactState


@dataclass(frozen=True, slots=True)
class PushStatus:
    """How far one variant is on one device."""

    device_id: str
    variant_id: str
    state: str  # "waiting", "fetching", "verified", "bad"
    fetched_bytes: int
    size_bytes: int
    reason: str = ""


class Pushes:
    """Puts variants into devices' desired states and says how far they are."""

    def __init__(self, store: Store, desired: DesiredStates, events: Events) -> None:
        self._store = store
        self._desired = desired
        self._events = events

    def push(self, model: Model, variants: Sequence[Variant], devices: Sequence[Device]) -> tuple[PushStatus, ...]:
        """Add ``variants`` to what each device shall hold; what it holds already stays."""
        wanted = {variant.manifest.variant_id for variant in variants}
        for device in devices:
            held: set[str] = set()
            for push in self._store.list_pushes(device.device_id):
                if (push.model_id, push.model_version) == (model.model_id, model.version):
                    held |= set(push.variant_ids)
            row = Push(device.device_id, model.model_id, model.version, tuple(sorted(held | wanted)))
            self._store.put_push(row)
            self._desired.refresh(device.device_id)
            self._events.record(
                "push.requested", device.device_id, model.model_id, details={"variants": " ".join(sorted(wanted))}
            )
        return self.status(variants, devices)

    def status(self, variants: Sequence[Variant], devices: Sequence[Device]) -> tuple[PushStatus, ...]:
        return tuple(_status(self._store.get_device(d.device_id), variant) for d in devices for variant in variants)

    def forget(self, device_id: str) -> None:
        """Nothing is to be held by the device any more."""
        for push in self._store.list_pushes(device_id):
            self._store.remove_push(device_id, push.model_id)

    def withdraw(self, model: Model, devices: Sequence[Device]) -> None:
        """Take every version of the model back out of the devices' caches (served variants stay)."""
        for device in devices:
            self._store.remove_push(device.device_id, model.model_id)
            self._desired.refresh(device.device_id)


def _status(device: Device, variant: Variant) -> PushStatus:
    manifest = variant.manifest
    reported = device.reported.artifacts if device.reported else ()
    for artifact in reported:
        if artifact.sha256 == manifest.artifact.sha256:
            state = {
                ArtifactState.VERIFIED: "verified",
                ArtifactState.FETCHING: "fetching",
                ArtifactState.BAD: "bad",
            }.get(artifact.state, "waiting")
            return PushStatus(
                device.device_id,
                manifest.variant_id,
                state,
                manifest.artifact.size_bytes if state == "verified" else artifact.fetched_bytes,
                manifest.artifact.size_bytes,
                artifact.reason,
            )
    return PushStatus(device.device_id, manifest.variant_id, "waiting", 0, manifest.artifact.size_bytes)
