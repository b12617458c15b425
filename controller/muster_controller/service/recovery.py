"""At start: what followed from reports that were stored, but was lost because the controller stopped right after.

A report closes its request in the transaction that stores it; what follows (the next attempt, the end of the run, a
new decision) comes after it. Everything here may be run again and again: what has been done already is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from muster_controller.core.entities import BenchmarkRun, Device, DeviceRequest, RequestState
from muster_controller.core.event_rules import RUN_ENDS
from muster_controller.core.unfold import FAILED_STATES, QUARANTINED
from muster_controller.ports import Store
from muster_controller.service.bench import MAX_ATTEMPTS, Benchmarks
from muster_controller.service.paging import every
from muster_protos.errors import ConflictError, NotFoundError

_EVENTS_PER_PAGE = 500


def retry_failed(store: Store, bench: Benchmarks) -> tuple[DeviceRequest, ...]:
    """Open requests again that a report has failed and that have attempts left; returns them as they were."""
    failed = [
        entry
        for entry in store.list_requests(state=RequestState.FAILED)
        if entry.request.attempt < MAX_ATTEMPTS and _can_be_asked(store, entry)
    ]
    invalid = {
        (record.request_id, record.attempt)
        for run_id in sorted({entry.run_id for entry in failed})
        for record in bench.records(run_id)
        if record.state in FAILED_STATES
    }
    lost = tuple(
        entry
        for entry in failed
        if (entry.request.request_id, entry.request.attempt) in invalid or entry.reason.startswith(QUARANTINED)
    )
    for entry in lost:
        with suppress(ConflictError):  # another controller on this store was first
            bench.attempt_failed(entry, entry.reason)
    return lost


def tell_ends(store: Store, bench: Benchmarks) -> None:
    """Record the end of each run that is through and whose end nobody was told."""
    told = {run_id for kind in RUN_ENDS for run_id in _runs_of(store, kind)}
    for run in every(lambda cursor: store.list_runs(cursor, 500)):
        if run.run_id not in told:
            bench.tell_when_done(run.run_id)


def undecided(store: Store, devices: Iterable[Device]) -> Iterator[tuple[Device, DeviceRequest]]:
    """(device, one of its answered requests) for each device and model version with a policy, newest run first.

    Only versions whose policy a run is younger than, or that have been decided before: a policy that was set after
    everything was measured speaks for the devices that it was set for, until something new arrives.
    """
    policies = {policy.model_id: policy for policy in store.list_policies()}
    runs = {run.run_id: run for run in every(lambda cursor: store.list_runs(cursor, 500)) if run.model_id in policies}
    for device in devices:
        newest: dict[tuple[str, int], DeviceRequest] = {}
        for entry in sorted(store.list_requests(device_id=device.device_id), key=lambda entry: _age(entry, runs)):
            is_through = entry.state in (RequestState.DONE, RequestState.FAILED)
            if is_through and entry.run_id in runs and runs[entry.run_id].created_at_ns >= device.replaced_at_ns:
                newest[entry.model_id, entry.model_version] = entry
        for entry in newest.values():
            is_young = runs[entry.run_id].created_at_ns >= policies[entry.model_id].updated_at_ns
            if is_young or store.list_decisions(entry.model_id, device.device_id, limit=1).items:
                yield device, entry


def _age(entry: DeviceRequest, runs: dict[str, BenchmarkRun]) -> tuple[int, str]:
    run = runs.get(entry.run_id)
    return (run.created_at_ns if run else 0, entry.request.request_id)


def _can_be_asked(store: Store, entry: DeviceRequest) -> bool:
    """Its device is in the fleet and its variant exists."""
    try:
        store.get_variant(entry.request.configuration.variant_id)
        return not store.get_device(entry.device_id).is_revoked
    except NotFoundError:
        return False


def _runs_of(store: Store, kind: str) -> Iterator[str]:
    """The runs that the controller's own events of ``kind`` name."""
    after = 0
    while events := store.list_events(after, kind=kind, limit=_EVENTS_PER_PAGE):
        after = events[-1].sequence
        yield from (event.details.get("run", "") for event in events if not event.device_id)
