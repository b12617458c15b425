"""What one device should be, composed from everything that asks something of it. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from muster_controller.core.configurations import unsupported_reason
from muster_controller.core.deployments import in_force
from muster_controller.core.entities import (
    Deployment,
    DeviceLoad,
    DeviceRequest,
    Fleet,
    Push,
    RequestState,
    Variant,
)
from muster_protos import codec
from muster_protos.model import DesiredModel, DesiredState, Inventory, SignedEnvelope

_ModelKey = tuple[str, int]


def compose(
    fleet: Fleet,
    device_id: str,
    inventory: Inventory,
    variants: Mapping[str, Variant],
    pushes: Iterable[Push],
    requests: Iterable[DeviceRequest],
    loads: Iterable[DeviceLoad],
    deployments: Iterable[Deployment],
) -> DesiredState:
    """The content of a device's desired state; version and time are left at 0 for ``stamped``.

    A device holds what was pushed to it, what it shall benchmark and what it may serve. ``variants`` (by id) must have
    every variant that these name; one that is missing (its model was removed) is passed over, with the request for it.
    The same input in another order gives the same content. Of two versions of one model the served one comes first.
    """
    wanted_requests = [entry for entry in requests if _is_wanted(entry, device_id, inventory, variants)]
    granted = {
        deployment.model_id: deployment
        for deployment in in_force(deployments)
        if deployment.device_id == device_id and _is_known(deployment, variants)
    }
    held: defaultdict[_ModelKey, set[str]] = defaultdict(set)
    for push in pushes:
        if push.device_id == device_id:
            held[push.model_id, push.model_version] |= {item for item in push.variant_ids if item in variants}
    for entry in wanted_requests:
        held[entry.model_id, entry.model_version].add(entry.request.configuration.variant_id)
    for deployment in granted.values():
        held[deployment.model_id, deployment.model_version] |= _ladder_variants(deployment)
    models = (_desired_model(key, held[key], granted.get(key[0]), variants) for key in held)
    return DesiredState(
        fleet_id=fleet.fleet_id,
        device_id=device_id,
        epoch=fleet.epoch,
        models=tuple(sorted((model for model in models if model.manifests), key=_model_order)),
        benchmarks=tuple(sorted((entry.request for entry in wanted_requests), key=lambda item: item.request_id)),
        loads=tuple(
            load.request
            for load in sorted(loads, key=lambda item: (item.created_at_ns, item.load_id))
            if load.device_id == device_id and load.state is RequestState.OPEN
        ),
    )


def content_sha256(content: DesiredState) -> str:
    """Equal exactly when nothing but version and time differs."""
    return hashlib.sha256(codec.encode(replace(content, version=0, issued_at_ns=0))).hexdigest()


def stamped(content: DesiredState, version: int, issued_at_ns: int) -> DesiredState:
    """The content as the version that goes out."""
    return replace(content, version=version, issued_at_ns=issued_at_ns)


def next_version(stored: tuple[int, int] | None, held_by_device: tuple[int, int], epoch: int) -> int:
    """The version of the next desired state, above everything the device may hold.

    ``stored`` and ``held_by_device`` are (epoch, version); a store restored from a backup may lie behind the device
    (then the higher is adopted, so that the version never goes down at a device).
    """
    versions = [version for known_epoch, version in (stored or (0, 0), held_by_device) if known_epoch >= epoch]
    return max([stored[1] if stored else 0, *versions]) + 1


def _is_wanted(entry: DeviceRequest, device_id: str, inventory: Inventory, variants: Mapping[str, Variant]) -> bool:
    configuration = entry.request.configuration
    variant = variants.get(configuration.variant_id)
    return (
        entry.device_id == device_id
        and entry.state is RequestState.OPEN
        and variant is not None
        and not unsupported_reason(configuration, variant.manifest, inventory)
    )


def _is_known(deployment: Deployment, variants: Mapping[str, Variant]) -> bool:
    return bool(deployment.grant.ladder) and all(item in variants for item in _ladder_variants(deployment))


def _ladder_variants(deployment: Deployment) -> set[str]:
    return {rung.configuration.variant_id for rung in deployment.grant.ladder}


def _desired_model(
    key: _ModelKey, variant_ids: set[str], deployment: Deployment | None, variants: Mapping[str, Variant]
) -> DesiredModel:
    model_id, version = key
    manifests: tuple[SignedEnvelope, ...] = tuple(variants[item].envelope for item in sorted(variant_ids))
    serving = deployment.grant if deployment is not None and deployment.model_version == version else None
    return DesiredModel(model_id=model_id, model_version=version, manifests=manifests, serving=serving)


def _model_order(model: DesiredModel) -> tuple[str, bool, int]:
    return (model.model_id, model.serving is None, model.model_version)
