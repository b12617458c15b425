"""The devices of the fleet, as people ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from muster_controller.core.entities import Device, RequestState
from muster_controller.ports import FleetAuthority, Page, Store
from muster_controller.service.events import Events
from muster_controller.service.live import LiveSessions
from muster_controller.service.nearest import unknown
from muster_controller.service.paging import every
from muster_controller.service.rollout import Rollouts
from muster_protos.errors import ConflictError, InvalidInputError, NotFoundError
from muster_protos.ids import check_id

ALL = "all"
_MAX_NAME = 200


class Devices:
    """Lists, names, labels and removes devices."""

    def __init__(
        self, store: Store, events: Events, live: LiveSessions, rollouts: Rollouts, authority: FleetAuthority
    ) -> None:
        self._store = store
        self._events = events
        self._live = live
        self._rollouts = rollouts
        self._authority = authority
        self._on_removed: Callable[[str], None] | None = None

    def follow(self, on_removed: Callable[[str], None]) -> None:
        """Have ``on_removed`` called with each device that was removed, after it was told."""
        self._on_removed = on_removed

    def list(self, labels: Mapping[str, str] | None = None, cursor: str = "", limit: int = 100) -> Page[Device]:
        """Devices in the fleet; removed ones are left out, so a page may be shorter than ``limit``."""
        page = self._store.list_devices(labels, cursor, limit)
        return Page(tuple(device for device in page.items if not device.is_revoked), page.next_cursor)

    def every(self, labels: Mapping[str, str] | None = None) -> tuple[Device, ...]:
        return tuple(every(lambda cursor: self.list(labels, cursor, 500)))

    def get(self, reference: str) -> Device:
        """By id, else by a name that only one device bears.

        Raises:
            NotFoundError: with the nearest ids.
        """
        try:
            device = self._store.get_device(reference)
        except NotFoundError:
            return self._by_name(reference)
        if device.is_revoked:
            raise NotFoundError(f'device "{reference}" was removed from the fleet; join it again')
        return device

    def is_member(self, device_id: str) -> bool:
        """Whether a device of that id is in the fleet: neither unknown nor removed."""
        try:
            return not self._store.get_standing(device_id).is_revoked
        except NotFoundError:
            return False

    def resolve(self, references: Sequence[str], labels: Mapping[str, str] | None = None) -> tuple[Device, ...]:
        """The devices meant by ids, names, ``all`` or labels, each once, in the order of their ids.

        Raises:
            NotFoundError: one is unknown, or nothing matches.
        """
        if not references or ALL in references:
            found = self.every(labels)
            if not found:
                wanted = " with " + ", ".join(f"{k}={v}" for k, v in labels.items()) if labels else ""
                raise NotFoundError(f"no device{wanted} in the fleet; add one with: muster token new")
            return found
        devices = {device.device_id: device for device in (self.get(reference) for reference in references)}
        wanted_labels = dict(labels or {})
        return tuple(
            devices[device_id]
            for device_id in sorted(devices)
            if all(devices[device_id].labels.get(key) == value for key, value in wanted_labels.items())
        )

    def rename(self, reference: str, name: str) -> Device:
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise InvalidInputError(f"expected a device name of 1 to {_MAX_NAME} printable characters, found {name!r}")
        device = self.get(reference)
        if name != device.device_id and (other := self._known_as(name, device.device_id)):
            raise ConflictError(f"expected a name that no other device goes by, found {other}; choose another")
        self._store.rename_device(device.device_id, name)
        return self._store.get_device(device.device_id)

    def _known_as(self, name: str, besides: str) -> str:
        """Which other device of the fleet goes by ``name`` already, as its id or its name; "" = none."""
        found = (device.device_id for device in self.every() if name in (device.device_id, device.name))
        return next((device_id for device_id in found if device_id != besides), "")

    def tag(self, reference: str, labels: Mapping[str, str], remove: Sequence[str] = ()) -> Device:
        """Add or change labels, drop those named in ``remove``."""
        for key, value in labels.items():
            check_id(key, "label key")
            if len(value) > _MAX_NAME or not value.isprintable():
                raise InvalidInputError(f"expected a label value of at most {_MAX_NAME} printable characters")
        device = self.get(reference)
        merged = {**device.labels, **labels}
        self._store.set_labels(device.device_id, {k: v for k, v in merged.items() if k not in remove})
        return self._store.get_device(device.device_id)

    def remove(self, reference: str) -> Device:
        """Revoke its identity, close its streams and cancel what it was still asked to do.

        A removal that failed half-way goes on when it is asked for again; its event is the last of it.
        """
        device = self._half_removed(reference) or self.get(reference)
        self._authority.revoke_certificates(device.device_id)  # first: where that fails, all of it can be tried again
        self._store.revoke_device(device.device_id)
        self._live.close(device.device_id, "removed from the fleet", is_revoked=True)
        self._authority.revoke_certificates(device.device_id)  # what was renewed meanwhile
        if self._on_removed is not None:
            self._on_removed(device.device_id)
        for entry in self._store.list_requests(device_id=device.device_id, state=RequestState.OPEN):
            self._store.put_request_state(
                entry.request.request_id, entry.request.attempt, RequestState.CANCELLED, "device removed"
            )
        self._rollouts.cancel_device(device.device_id, "device removed from the fleet")
        self._events.record("device.removed", device_id=device.device_id)
        return self._store.get_device(device.device_id)

    def _half_removed(self, device_id: str) -> Device | None:
        """The device of that id, if it was revoked without coming to the event of its removal."""
        try:
            device = self._store.get_device(device_id)
        except NotFoundError:
            return None
        if not device.is_revoked:
            return None
        joined, removed = (
            self._store.newest_events(device_id, kind, 1) for kind in ("device.joined", "device.removed")
        )
        is_told = bool(removed) and (not joined or removed[0].sequence > joined[0].sequence)
        return None if is_told else device

    def _by_name(self, reference: str) -> Device:
        devices = self.every()
        named = [device for device in devices if device.name == reference]
        if len(named) == 1:
            return named[0]
        if len(named) > 1:
            ids = ", ".join(device.device_id for device in named)
            raise NotFoundError(f'{len(named)} devices are named "{reference}"; use an id: {ids}')
        raise unknown("device", reference, [d.device_id for d in devices] + [d.name for d in devices])
