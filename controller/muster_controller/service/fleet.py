"""The fleet itself: made at the first start, summed up for ``status``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from muster_controller.core.entities import Fleet, OperationState, Presence, RequestState, RolloutState
from muster_controller.ports import Clock, Store
from muster_controller.service.context import new_id
from muster_controller.service.paging import every
from muster_protos.errors import ConflictError, NotFoundError
from muster_protos.ids import check_id


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The fleet in numbers."""

    fleet_id: str
    name: str
    version: str
    devices: int
    online: int
    models: int
    open_benchmarks: int
    running_rollouts: int
    running_operations: int
    worst_clock_skew_s: float | None = None  # None = no device has said hello since the start
    worst_clock_device_id: str = ""
    cloned_device_ids: tuple[str, ...] = ()  # two agents were seen to share one identity
    broker: str = ""  # mqtts://HOST:PORT; "" = MQTT is off
    broker_problem: str = ""  # why it cannot be used just now


def ensure_fleet(store: Store, clock: Clock, name: str) -> Fleet:
    """The store's fleet; made now when there is none."""
    known = store.fleet()
    if known is not None:
        return known
    fleet = Fleet(new_id("fleet"), check_id(name, "fleet name"), epoch=1, created_at_ns=clock.now_ns())
    try:
        store.init_fleet(fleet)
    except ConflictError:  # another controller on this store was first
        made = store.fleet()
        if made is not None:
            return made
        raise
    return fleet


class Fleets:
    """The one fleet of this store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        known = store.fleet()
        if known is None:
            raise NotFoundError("the store has no fleet yet; start the controller with: muster up")
        self.fleet: Fleet = known
        self._look_at_broker: Callable[[], tuple[str, str]] = lambda: ("", "")

    def watch_broker(self, look: Callable[[], tuple[str, str]]) -> None:
        """``look`` returns the broker's URL and what is wrong with it."""
        self._look_at_broker = look

    def status(self, version: str) -> FleetStatus:
        devices = [d for d in every(lambda c: self._store.list_devices(None, c, 500)) if not d.is_revoked]
        rollouts = every(lambda cursor: self._store.list_rollouts(cursor, 500))
        operations = every(lambda cursor: self._store.list_operations(cursor, 500))
        broker, broker_problem = self._look_at_broker()
        return FleetStatus(
            fleet_id=self.fleet.fleet_id,
            name=self.fleet.name,
            version=version,
            devices=len(devices),
            online=sum(device.presence is Presence.ONLINE for device in devices),
            models=sum(1 for _ in every(lambda cursor: self._store.list_models(cursor, 500))),
            open_benchmarks=len(self._store.list_requests(state=RequestState.OPEN)),
            running_rollouts=sum(rollout.state is RolloutState.RUNNING for rollout in rollouts),
            cloned_device_ids=tuple(device.device_id for device in devices if device.cloned_at_ns),
            running_operations=sum(operation.state is OperationState.RUNNING for operation in operations),
            broker=broker,
            broker_problem=broker_problem,
        )

    def reset_presence(self, now_ns: int) -> None:
        """At start no link is up: whoever was online must come back."""
        self._store.reset_presence(now_ns)
