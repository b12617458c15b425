"""Benchmark runs: asked of devices as desired items, retried when an attempt dies, read back as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from muster_controller.core.configurations import configurations_of, unsupported_reason
from muster_controller.core.entities import BenchmarkRun, Device, DeviceRequest, Model, RequestState, Variant
from muster_controller.ports import Clock, Page, Store
from muster_controller.service.context import new_id
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_controller.service.models import split_reference
from muster_controller.service.nearest import unknown_id
from muster_controller.service.paging import every
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import (
    BenchmarkPhase,
    BenchmarkRecord,
    BenchmarkRequest,
    Inventory,
    ReportedState,
    Scenario,
    Tier,
)

MAX_ATTEMPTS = 3
DEADLINE_MS = {Tier.DEMO: 90_000, Tier.QUICK: 240_000, Tier.STANDARD: 900_000, Tier.CERTIFY: 3_600_000}


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What ``bench run`` asks for; empty tuples mean every sensible choice."""

    tier: Tier = Tier.QUICK
    percentiles: tuple[float, ...] = (50.0, 90.0, 95.0, 99.0)
    threads: tuple[int, ...] = ()
    runtimes: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    seed: int = 0


class Benchmarks:
    """Starts runs, cancels them, retries attempts that failed."""

    def __init__(self, store: Store, clock: Clock, desired: DesiredStates, events: Events) -> None:
        self._store = store
        self._clock = clock
        self._desired = desired
        self._events = events

    def start(
        self, model: Model, variants: Sequence[Variant], devices: Sequence[Device], order: RunOrder
    ) -> BenchmarkRun:
        """Ask each device for every configuration of ``variants`` that its inventory can execute.

        Raises:
            InvalidInputError: an unusable order, or no device has a runtime for any of the variants.
        """
        _check(order)
        run = BenchmarkRun(
            run_id=new_id("run"),
            model_id=model.model_id,
            model_version=model.version,
            tier=order.tier,
            created_at_ns=self._clock.now_ns(),
            device_ids=tuple(device.device_id for device in devices),
        )
        requests = [entry for device in devices for entry in _requests(run, device, variants, order)]
        if not requests:
            raise _nothing_to_run(run, devices, variants, order)
        self._store.add_run(run, requests)
        self._events.record("benchmark.started", model_id=model.model_id, details={"run": run.run_id})
        for device_id in sorted({entry.device_id for entry in requests}):
            self._desired.refresh(device_id)
        return run

    def get(self, run_id: str) -> BenchmarkRun:
        try:
            return self._store.get_run(run_id)
        except NotFoundError:
            raise unknown_id("benchmark run", run_id, "muster bench ls") from None

    def list(self, cursor: str = "", limit: int = 100) -> Page[BenchmarkRun]:
        return self._store.list_runs(cursor, limit)

    def requests(self, run_id: str) -> tuple[DeviceRequest, ...]:
        return self._store.list_requests(run_id=run_id)

    def records(self, run_id: str) -> tuple[BenchmarkRecord, ...]:
        return tuple(every(lambda cursor: self._store.list_records(run_id=run_id, cursor=cursor)))

    def list_records(
        self, model: str = "", device: str = "", run: str = "", cursor: str = "", limit: int = 100
    ) -> Page[BenchmarkRecord]:
        """``model`` is ``name`` or ``name:version``; empty texts do not filter."""
        model_id, version = split_reference(model) if model else (None, None)
        return self._store.list_records(model_id, version, device or None, run or None, cursor, limit)

    def record(self, record_id: str) -> BenchmarkRecord:
        return self._store.get_record(record_id)

    def tell_when_done(self, run_id: str) -> None:
        """Record the event of a run's end, if nothing of it is open any more."""
        entries = self._store.list_requests(run_id=run_id)
        if any(entry.state is RequestState.OPEN for entry in entries):
            return
        failed = sum(entry.state is RequestState.FAILED for entry in entries)
        details = {"run": run_id, "failed": str(failed), "requests": str(len(entries))}
        self._events.record("benchmark.finished", model_id=entries[0].model_id if entries else "", details=details)

    def cancel(self, run_id: str) -> None:
        """Ask no more of the devices; what they measured stays."""
        run = self.get(run_id)
        for entry in self._store.list_requests(run_id=run_id, state=RequestState.OPEN):
            request = entry.request
            self._store.put_request_state(request.request_id, request.attempt, RequestState.CANCELLED, "cancelled")
        for device_id in run.device_ids:
            self._desired.refresh(device_id)
        self._events.record("benchmark.cancelled", model_id=run.model_id, details={"run": run_id})

    def follow_reported(self, device_id: str, reported: ReportedState) -> None:
        """Act on attempts that the device says have failed."""
        failed = [b for b in reported.benchmarks if b.phase is BenchmarkPhase.FAILED]
        if not failed:
            return
        open_requests = {
            (entry.request.request_id, entry.request.attempt): entry
            for entry in self._store.list_requests(device_id=device_id, state=RequestState.OPEN)
        }
        entries = [
            (open_requests[key], item.reason)
            for item in failed
            if (key := (item.request_id, item.attempt)) in open_requests
        ]
        for entry, reason in entries:
            self.attempt_failed(entry, reason)
        for run_id in sorted({entry.run_id for entry, _ in entries}):
            self.tell_when_done(run_id)
        if entries:
            self._desired.refresh(device_id)

    def inventory_changed(self, device_id: str, inventory: Inventory) -> None:
        """Close requests for what the device can no longer execute; it would never answer them."""
        if not inventory.runtimes:
            return
        entries = self._store.list_requests(device_id=device_id, state=RequestState.OPEN)
        closed: set[str] = set()
        for entry in entries:
            request = entry.request
            manifest = self._store.get_variant(request.configuration.variant_id).manifest
            reason = unsupported_reason(request.configuration, manifest, inventory)
            if reason:
                self._store.put_request_state(request.request_id, request.attempt, RequestState.FAILED, reason)
                closed.add(entry.run_id)
        for run_id in sorted(closed):
            self.tell_when_done(run_id)

    def attempt_failed(self, entry: DeviceRequest, reason: str) -> None:
        """Open the request again, or give up after MAX_ATTEMPTS attempts."""
        request = entry.request
        details = {"run": entry.run_id, "request": request.request_id, "attempt": str(request.attempt)}
        if request.attempt < MAX_ATTEMPTS:
            self._store.retry_request(request.request_id, request.attempt)
            kind = "benchmark.retried"
        else:
            self._store.put_request_state(request.request_id, request.attempt, RequestState.FAILED, reason)
            kind = "benchmark.failed"
        self._events.record(kind, entry.device_id, entry.model_id, reason, details)


def _check(order: RunOrder) -> None:
    if order.tier is Tier.UNSPECIFIED:
        raise InvalidInputError("expected a tier of demo, quick, standard or certify")
    for percentile in order.percentiles:
        if not 0 < percentile < 100:
            raise InvalidInputError(f"expected percentiles between 0 and 100, found {percentile}")
    for threads in order.threads:
        if not 1 <= threads <= 1024:
            raise InvalidInputError(f"expected 1 to 1024 threads, found {threads}")


def _nothing_to_run(
    run: BenchmarkRun, devices: Sequence[Device], variants: Sequence[Variant], order: RunOrder
) -> InvalidInputError:
    """Which of what was asked for leaves nothing: the threads, the runtime or provider, or the variants."""

    def is_runnable(other: RunOrder) -> bool:
        return any(_requests(run, device, variants, other) for device in devices)

    if is_runnable(replace(order, threads=())):
        cores = ", ".join(f"{device.device_id}: {device.inventory.cores}" for device in devices)
        found = ", ".join(str(count) for count in order.threads)
        return InvalidInputError(f"expected at most as many threads as usable cores ({cores}), found {found}")
    if is_runnable(replace(order, threads=(), runtimes=(), providers=())):
        found = " ".join([*order.runtimes, *order.providers])
        return InvalidInputError(
            f"expected a runtime and provider that a device has for them, found {found}; see: muster device show"
        )
    names = ", ".join(variant.manifest.name for variant in variants)
    return InvalidInputError(
        f"expected a device with a runtime for {names}, found none among {', '.join(run.device_ids)}; "
        "see: muster device show"
    )


def _requests(
    run: BenchmarkRun, device: Device, variants: Sequence[Variant], order: RunOrder
) -> tuple[DeviceRequest, ...]:
    template = BenchmarkRequest(
        attempt=1,
        tier=order.tier,
        scenario=Scenario.SINGLE_STREAM,
        percentiles=order.percentiles,
        seed=order.seed,
        deadline_ms=DEADLINE_MS[order.tier],
    )
    found = [
        configuration
        for variant in variants
        for configuration in configurations_of(
            variant.manifest, device.inventory, order.threads, order.runtimes, order.providers
        )
    ]
    return tuple(
        DeviceRequest(
            run_id=run.run_id,
            device_id=device.device_id,
            model_id=run.model_id,
            model_version=run.model_version,
            request=replace(template, request_id=new_id("req"), configuration=configuration),
        )
        for configuration in found
    )
