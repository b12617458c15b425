"""Loads: a device puts traffic on its own serving process, or keeps its cores busy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from muster_controller.core.entities import Device, DeviceLoad, RequestState
from muster_controller.core.event_rules import LOAD_ENDS
from muster_controller.ports import Clock, Store
from muster_controller.service.context import new_id
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import LoadPhase, LoadRequest, LoadResult

MAX_DURATION_MS = 24 * 3600 * 1000
START_WITHIN_S = 600
_EVENTS_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What ``muster load`` asks for."""

    model_id: str = ""
    phases: tuple[LoadPhase, ...] = ()
    cpu_ratio: float = 0.0
    seed: int = 0


class Loads:
    """Asks devices for loads and keeps what came back."""

    def __init__(self, store: Store, clock: Clock, desired: DesiredStates, events: Events) -> None:
        self._store = store
        self._clock = clock
        self._desired = desired
        self._events = events

    def start(self, device: Device, order: LoadOrder) -> DeviceLoad:
        """Ask; a device that does not start it within ten minutes forgets it.

        Raises:
            InvalidInputError: nothing to do, or figures outside their ranges.
        """
        _check(order)
        now_ns = self._clock.now_ns()
        load_id = new_id("load")
        request = LoadRequest(
            request_id=load_id,
            attempt=1,
            model_id=order.model_id,
            phases=order.phases,
            seed=order.seed,
            cpu_ratio=order.cpu_ratio,
            expires_at_ns=now_ns + START_WITHIN_S * 10**9,
        )
        load = DeviceLoad(load_id, device.device_id, request, now_ns)
        self._store.put_load(load)
        self._desired.refresh(device.device_id)
        self._events.record("load.requested", device.device_id, order.model_id, details={"load": load_id})
        return load

    def get(self, load_id: str) -> DeviceLoad:
        return self._store.get_load(load_id)

    def list(self, device_id: str | None = None) -> tuple[DeviceLoad, ...]:
        return self._store.list_loads(device_id)

    def tell_end(self, load_id: str) -> None:
        """A result has been stored: say in the feed how the load went, once."""
        try:
            load = self._store.get_load(load_id)
        except NotFoundError:
            return
        if load.result is None or load.state is RequestState.OPEN:
            return
        kind = LOAD_ENDS[0] if load.state is RequestState.DONE else LOAD_ENDS[1]
        past = self._store.newest_events(load.device_id, kind, _EVENTS_LOOKED_AT)
        if any(event.details.get("load") == load_id for event in past):
            return
        reason = load.reason or summary_of(load.result)
        details = {"load": load_id, **figures_of(load.result)}
        self._events.record(kind, load.device_id, load.request.model_id, reason[:500], details)

    def tell_ends(self) -> None:
        """At start: results that were stored, but whose end the feed does not have."""
        told: set[str] = set()
        for kind in LOAD_ENDS:
            after = 0
            while events := self._store.list_events(after, kind=kind, limit=_EVENTS_LOOKED_AT):
                after = events[-1].sequence
                told |= {event.details.get("load", "") for event in events}
        for load in self._store.list_loads():
            if load.load_id not in told:
                self.tell_end(load.load_id)

    def expire(self, now_ns: int) -> tuple[DeviceLoad, ...]:
        """Close loads that can no longer have started or finished; returns what was closed."""
        expired = [load for load in self._store.list_loads(state=RequestState.OPEN) if now_ns > _end_ns(load.request)]
        for load in expired:
            self._close(load, RequestState.FAILED, "the device did not report a result in time")
        return tuple(expired)

    def follow_failed(self, device_id: str, failed: Sequence[tuple[str, str]]) -> None:
        """The device says that these (load id, reason) cannot be run."""
        open_loads = {load.load_id: load for load in self._store.list_loads(device_id, RequestState.OPEN)}
        for load_id, reason in failed:
            if load_id in open_loads:
                self._close(open_loads[load_id], RequestState.FAILED, reason)

    def _close(self, load: DeviceLoad, state: RequestState, reason: str) -> None:
        closed = DeviceLoad(
            load.load_id, load.device_id, load.request, load.created_at_ns, state, reason[:500], load.result
        )
        self._store.put_load(closed)
        self._events.record("load.failed", load.device_id, load.request.model_id, reason[:500], {"load": load.load_id})
        self._desired.refresh(load.device_id)


def figures_of(result: LoadResult) -> dict[str, str]:
    """The result's figures as an event carries them; a latency that is unknown is left out."""
    counts = {
        "offered": result.offered,
        "answered": result.answered,
        "failed": result.failed,
        "shed": result.shed,
        "slo_missed": result.slo_missed,
    }
    latencies = {"p50_ms": result.p50_ns, "p95_ms": result.p95_ns, "p99_ms": result.p99_ns}
    shown = {name: f"{ns / 1e6:.4g}" for name, ns in latencies.items() if ns is not None}
    return {**{name: str(count) for name, count in counts.items()}, **shown}


def summary_of(result: LoadResult) -> str:
    """The same in a line for people."""
    seconds = (result.finished_at_ns - result.started_at_ns) / 1e9
    if not result.offered:
        return f"{seconds:.3g} s, no request"
    parts = [
        f"{result.offered} requests in {seconds:.3g} s",
        f"{result.failed} failed",
        f"{result.shed} shed",
        f"{result.slo_missed / result.offered:.2%} missed the SLO",
    ]
    if result.p95_ns is not None:
        parts.append(f"p95 {result.p95_ns / 1e6:.3g} ms")
    return ", ".join(parts)


def _end_ns(request: LoadRequest) -> int:
    duration_ms = sum(phase.duration_ms for phase in request.phases)
    return request.expires_at_ns + (duration_ms + 60_000) * 10**6


def _check(order: LoadOrder) -> None:
    if not order.model_id and order.cpu_ratio == 0.0:
        raise InvalidInputError("expected a model to send requests to, a share of CPU to keep busy, or both")
    if not (math.isfinite(order.cpu_ratio) and 0 <= order.cpu_ratio <= 1):
        raise InvalidInputError(f"expected a CPU share between 0 and 1, found {order.cpu_ratio}")
    if not order.phases:
        raise InvalidInputError("expected at least one phase with a duration")
    for phase in order.phases:
        if not (math.isfinite(phase.rate_hz) and 0 <= phase.rate_hz <= 100_000):
            raise InvalidInputError(f"expected a rate of 0 to 100000 requests/s, found {phase.rate_hz}")
        if not 0 <= phase.concurrency <= 64 or (phase.concurrency and phase.rate_hz):
            raise InvalidInputError(
                f"expected a rate, or a concurrency of 1 to 64 for a closed loop, found {phase.rate_hz:g} requests/s "
                f"and a concurrency of {phase.concurrency}"
            )
        if phase.duration_ms <= 0:
            raise InvalidInputError(f"expected a phase longer than 0 ms, found {phase.duration_ms}")
    total_ms = sum(phase.duration_ms for phase in order.phases)
    if total_ms > MAX_DURATION_MS:
        raise InvalidInputError(f"expected a load of at most 24 h, found {total_ms / 3.6e6:.1f} h")
