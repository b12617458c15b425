"""Each device's desired state: composed from everything that asks something of it, signed, moved by compare-and-set."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set
from dataclasses import replace
from threading import Lock

from muster_controller.core.desired import compose, content_sha256, next_version, stamped
from muster_controller.core.entities import DesiredRow, Fleet, RequestState, Variant
from muster_controller.service.context import Context
from muster_controller.service.paging import every
from muster_devices.failpoint import hit
from muster_protos import codec
from muster_protos.envelope import DESIRED_STATE
from muster_protos.errors import ConflictError, MusterError, NotFoundError, TemporaryError
from muster_protos.model import DesiredState, Inventory

_log = logging.getLogger(__name__)

_ATTEMPTS = 8
_DEVICES_PER_PAGE = 100


class DesiredStates:
    """Recomposes on request; a state whose content did not change keeps its version."""

    def __init__(self, context: Context, fleet: Fleet) -> None:
        self._context = context
        self._store = context.store
        self._fleet = fleet
        self._locks: dict[str, Lock] = {}
        self._composed: set[str] | None = None  # since ``begin_refresh``; None when all are

    def refresh(self, device_id: str, held_by_device: tuple[int, int] = (0, 0)) -> None:
        """Bring the stored desired state up to date and wake the device's session.

        ``held_by_device`` is the (epoch, version) that the device says it has; ours ends up above it when it is not
        ours already (the store was restored from a backup).

        Raises:
            ConflictError: other controllers on this store kept changing it.
        """
        composed = self._composed
        for _ in range(_ATTEMPTS):
            try:
                with self._locks.setdefault(device_id, Lock()):
                    is_new = self._refresh_once(device_id, held_by_device)
            except ConflictError:
                continue
            if is_new:
                self._context.feed.publish(f"device/{device_id}")
            if composed is not None:
                composed.add(device_id)
            return
        raise ConflictError(f"expected to set the desired state of {device_id}, found it changing {_ATTEMPTS} times")

    def refresh_all(self) -> None:
        """Whatever was asked for while nobody composed becomes desired now."""
        for device_id in self._device_ids():
            self.refresh(device_id)

    def begin_refresh(self) -> None:
        """Everything that is composed from here on counts for ``refresh_rest``."""
        self._composed = set()

    def refresh_rest(self) -> None:
        """All that were not composed since ``begin_refresh``: after a start most devices come by themselves.

        Raises:
            TemporaryError: the store cannot be used now; what is left is left for the next call.
        """
        for device_id in self._device_ids():
            composed = self._composed
            if composed is None:  # stopped, or nothing had begun
                return
            if device_id in composed:
                continue
            try:
                self.refresh(device_id)
            except TemporaryError:
                raise
            except MusterError:
                _log.exception("composing the desired state of device %s failed", device_id)
        self._composed = None

    def stop_refresh(self) -> None:
        """End a ``refresh_rest`` that is under way."""
        self._composed = None

    def _device_ids(self) -> Iterator[str]:
        for device in every(lambda cursor: self._store.list_devices(None, cursor, _DEVICES_PER_PAGE)):
            if not device.is_revoked:
                yield device.device_id

    def keep_only(self, device_ids: Set[str]) -> None:
        """Forget all other devices."""
        for device_id in tuple(self._locks):
            if device_id not in device_ids:
                self._locks.pop(device_id, None)

    def _refresh_once(self, device_id: str, held_by_device: tuple[int, int]) -> bool:
        with self._store.snapshot():
            row = self._store.desired(device_id)
            composed = self._compose(device_id)
        stored = None if row is None else (row.epoch, row.version)
        # A device may have been with a later restore than this one: what it holds counts, else it would never listen.
        epoch = max(self._fleet.epoch, held_by_device[0], row.epoch if row else 0)
        content = replace(composed, epoch=epoch)
        sha256 = content_sha256(content)
        is_behind = held_by_device > (stored or (0, 0))
        is_ours = row is not None and row.epoch == epoch and self._is_signed_today(row)
        if row is not None and row.content_sha256 == sha256 and is_ours and not is_behind:
            return False
        version = next_version(stored, held_by_device, epoch)
        state = stamped(content, version, self._context.clock.now_ns())
        envelope = self._context.authority.signer.sign(DESIRED_STATE, codec.encode(state))
        hit("desired row: signed")
        self._store.compare_and_set_desired(
            DesiredRow(device_id, epoch, version, sha256, envelope), row.version if row else 0
        )
        return True

    def _is_signed_today(self, row: DesiredRow) -> bool:
        """A device takes only a higher version, so what a replaced key has signed goes out as a new one."""
        return self._context.authority.is_signed_today(row.envelope)

    def _compose(self, device_id: str) -> DesiredState:
        pushes = self._store.list_pushes(device_id)
        requests = self._store.list_requests(device_id=device_id, state=RequestState.OPEN)
        loads = self._store.list_loads(device_id, RequestState.OPEN)
        deployments = self._store.list_deployments(device_id=device_id)
        inventory = self._store.get_inventory(device_id) if requests else Inventory()
        named = {variant_id for push in pushes for variant_id in push.variant_ids}
        named |= {entry.request.configuration.variant_id for entry in requests}
        named |= {rung.configuration.variant_id for item in deployments for rung in item.grant.ladder}
        variants = dict(self._known(named))
        return compose(self._fleet, device_id, inventory, variants, pushes, requests, loads, deployments)

    def _known(self, variant_ids: set[str]) -> Iterator[tuple[str, Variant]]:
        for variant_id in sorted(variant_ids):
            try:
                yield variant_id, self._store.get_variant(variant_id)
            except NotFoundError:  # its model was removed; compose passes over what names it
                continue
