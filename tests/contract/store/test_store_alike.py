"""Whatever happens, the store in memory and the one on disk tell the same story."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.core.entities import DeviceLoad, RequestState
from muster_controller.ports import Store
from muster_controller.testing import MemoryStore
from muster_controller.testing_values import (
    NOW_NS,
    make_device,
    make_model,
    make_record,
    make_request,
    make_run,
    make_stored_report,
    make_variant,
)
from muster_protos.errors import MusterError
from muster_protos.model import Event, LoadRequest, LoadResult, RecordState

Act = Callable[[Store], object]

ids = st.sampled_from(["r1", "r2", "l1"])
devices = st.sampled_from(["pi-1", "pi-2"])
small = st.integers(1, 3)


def report_of_a_record(
    request_id: str, attempt: int, sequence: int, device_id: str, record_id: str, state: RecordState, reason: str
) -> Act:
    record = make_record(
        make_variant(), request_id=request_id, attempt=attempt, record_id=record_id, state=state, device_id=device_id
    )
    report = make_stored_report(record, sequence=sequence, device_id=device_id, rejected_reason=reason)
    return lambda store: store.store_reports([report])


def report_of_a_load(request_id: str, attempt: int, sequence: int, device_id: str, reason: str) -> Act:
    report = make_stored_report(LoadResult(request_id, attempt, reason=reason), sequence=sequence, device_id=device_id)
    return lambda store: store.store_reports([report])


def batch_of_events(sequences: list[int], device_id: str) -> Act:
    reports = [make_stored_report(Event(f"e{n}", "x"), sequence=n, device_id=device_id) for n in sequences]
    return lambda store: store.store_reports([*reports, *(replace(item, payload=b"\xff") for item in reports[:1])])


acts: st.SearchStrategy[Act] = st.one_of(
    st.builds(
        report_of_a_record,
        ids,
        small,
        small,
        devices,
        st.sampled_from(["rec-a", "rec-b", "rec-c"]),
        st.sampled_from(list(RecordState)),
        st.sampled_from(["", "", "a lie"]),
    ),
    st.builds(report_of_a_load, ids, small, small, devices, st.sampled_from(["", "stopped"])),
    st.builds(batch_of_events, st.lists(small, max_size=4), devices),
    st.builds(lambda request_id, attempt: lambda store: store.retry_request(request_id, attempt), ids, small),
    st.builds(
        lambda request_id, attempt, state: lambda store: store.put_request_state(request_id, attempt, state, "why"),
        ids,
        small,
        st.sampled_from(list(RequestState)),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(acts, max_size=15))
def test_both_stores_tell_the_same_story(happened: list[Act]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory, disk = MemoryStore(), open_store(Path(folder) / "fleet.sqlite3")
        for store in (memory, disk):
            prepare(store)
        for act in happened:
            assert outcome_of(act, memory) == outcome_of(act, disk)
        assert story_of(memory) == story_of(disk)
        disk.close()


def prepare(store: Store) -> None:
    for device_id in ("pi-1", "pi-2"):
        store.put_device(make_device(device_id))
    store.add_model(make_model(), make_variant())
    store.add_run(make_run(), [make_request("r1"), make_request("r2", device_id="pi-2")])
    store.put_load(DeviceLoad("l1", "pi-1", LoadRequest("l1", 1), NOW_NS))


def outcome_of(act: Act, store: Store) -> object:
    try:
        return act(store)
    except MusterError as error:
        return type(error)


def story_of(store: Store) -> tuple[object, ...]:
    return (
        store.list_requests(),
        store.list_loads(),
        store.list_reports(),
        store.list_records(),
        [store.list_records(device_id=device_id) for device_id in ("pi-1", "pi-2")],
        store.list_records(run_id="run-1"),
        store.list_events(),
    )
