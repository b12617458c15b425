"""How a load went is in the feed, once, with its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_controller.core.entities import DeviceLoad, RequestState
from muster_controller.service.loads import LoadOrder, figures_of, summary_of
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos.model import AgentMessage, LoadPhase, LoadResult, Report

RESULT = LoadResult(
    started_at_ns=10**9,
    finished_at_ns=21 * 10**9,
    offered=1000,
    answered=990,
    shed=8,
    failed=2,
    slo_missed=12,
    p50_ns=5_000_000,
    p95_ns=88_100_000,
)


@pytest.fixture
def session(lab: ServiceLab) -> RecordingSession:
    lab.add_device("pi")
    return lab.open_session("pi")


def start(lab: ServiceLab) -> DeviceLoad:
    (device,) = lab.service.devices.resolve(["pi"])
    return lab.service.loads.start(device, LoadOrder(phases=(LoadPhase(0.0, 20_000),), cpu_ratio=0.5))


def answer(lab: ServiceLab, session: RecordingSession, load: DeviceLoad, **changes: object) -> None:
    result = replace(RESULT, request_id=load.load_id, attempt=1, **changes)  # type: ignore[arg-type]
    lab.service.sessions.messages_received(session, [AgentMessage(Report(load.load_id, 1, 1, result))])


def told(lab: ServiceLab) -> list[tuple[str, str, str]]:
    events = (event for event in lab.service.events.list() if event.kind in ("load.finished", "load.failed"))
    return [(event.kind, event.device_id, event.reason) for event in events]


def test_a_result_is_told_once_with_its_figures(lab: ServiceLab, session: RecordingSession) -> None:
    load = start(lab)
    answer(lab, session, load)
    answer(lab, session, load)  # the same report again: its acknowledgement was lost
    summary = "1000 requests in 20 s, 2 failed, 8 shed, 1.20% missed the SLO, p95 88.1 ms"
    assert told(lab) == [("load.finished", "pi", summary)]
    (event,) = lab.service.events.list(kind="load.finished")
    assert event.details == {"load": load.load_id, **figures_of(RESULT)}
    assert (event.details["slo_missed"], event.details["p95_ms"], "p99_ms" in event.details) == ("12", "88.1", False)


def test_a_load_that_could_not_be_run_is_told_once_as_failed(lab: ServiceLab, session: RecordingSession) -> None:
    load = start(lab)
    answer(lab, session, load, reason="expired before it started")
    lab.service.loads.follow_failed("pi", [(load.load_id, "expired before it started")])
    assert told(lab) == [("load.failed", "pi", "expired before it started")]


def test_an_end_that_was_stored_but_not_told_is_told_at_the_next_start(
    lab: ServiceLab, session: RecordingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = start(lab)
    with monkeypatch.context() as crashed:
        crashed.setattr(lab.service.loads, "_store", None)
        crashed.setattr("muster_controller.service.reports.Reports._act", lambda *_: None)
        answer(lab, session, load)
    assert lab.store.get_load(load.load_id).state is RequestState.DONE
    assert told(lab) == []
    lab.service.loads.tell_ends()
    lab.service.loads.tell_ends()
    assert [kind for kind, _, _ in told(lab)] == ["load.finished"]


def test_busy_cores_without_requests_are_told_as_such() -> None:
    assert summary_of(LoadResult(started_at_ns=0, finished_at_ns=2 * 10**9)) == "2 s, no request"
