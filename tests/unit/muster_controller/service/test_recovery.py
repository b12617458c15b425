"""A controller that stops right after it stored a report: the next start does what followed from it, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_controller.core.entities import DeviceRequest, RequestState, StoredReport
from muster_controller.service.bench import RunOrder
from muster_controller.service.service import Service
from muster_controller.testing_service import ServiceLab
from muster_protos import codec
from muster_protos.model import BenchmarkRecord, RecordState, Report

AUTO = "constraints: {p95_ms: {max: 40}}\nobjective: accuracy\napply: auto\n"


def run(lab: ServiceLab, *variants: str) -> tuple[DeviceRequest, ...]:
    model = lab.service.models.get("kws")
    kept = lab.service.models.kept(model, variants)
    started = lab.service.bench.start(model, kept, lab.service.devices.every(), RunOrder(threads=(1,)))
    return lab.service.bench.requests(started.run_id)


def store(lab: ServiceLab, record: BenchmarkRecord, rejected_reason: str = "") -> None:
    """As the controller does it, and then it stops."""
    payload = codec.encode(Report(record.request_id, record.attempt, 1, record))
    key = (record.device.device_id, record.request_id, record.attempt, 1)
    lab.store.store_reports([StoredReport(*key, payload, lab.clock.now_ns(), rejected_reason)])


def restart(lab: ServiceLab, times: int = 2) -> None:
    for _ in range(times):
        again = Service(lab.context)
        again.start()
        again.close()


def kinds(lab: ServiceLab) -> list[str]:
    return [event.kind for event in lab.service.newest_events(None, None, 500)]


@pytest.fixture
def measured(lab: ServiceLab) -> ServiceLab:
    lab.add_device("pi")
    lab.add_model()
    return lab


@pytest.mark.parametrize("rejected_reason", ["", "a lie"])
def test_a_request_that_a_report_had_failed_is_retried_once(measured: ServiceLab, rejected_reason: str) -> None:
    (entry,) = run(measured, "fp32")
    failed = replace(measured.record_for(entry), state=RecordState.INVALID, latency=None, reasons=("killed",))
    store(measured, failed, rejected_reason)
    assert measured.service.bench.requests(entry.run_id)[0].state is RequestState.FAILED
    restart(measured)
    (after,) = measured.service.bench.requests(entry.run_id)
    assert (after.state, after.request.attempt) == (RequestState.OPEN, 2)
    assert "benchmark.finished" not in kinds(measured)


def test_a_request_that_the_device_cannot_execute_stays_failed(measured: ServiceLab) -> None:
    (entry,) = run(measured, "fp32")
    measured.store.put_request_state(entry.request.request_id, 1, RequestState.FAILED, "the device has no runtime")
    restart(measured)
    assert measured.service.bench.requests(entry.run_id)[0].state is RequestState.FAILED


def test_a_request_out_of_attempts_stays_failed_and_the_end_of_its_run_is_told_once(measured: ServiceLab) -> None:
    (entry,) = run(measured, "fp32")
    for attempt in (1, 2):
        measured.store.retry_request(entry.request.request_id, attempt)
    (entry,) = measured.service.bench.requests(entry.run_id)
    store(measured, replace(measured.record_for(entry), state=RecordState.INVALID, latency=None))
    restart(measured)
    assert measured.service.bench.requests(entry.run_id)[0].state is RequestState.FAILED
    assert kinds(measured).count("benchmark.finished") == 1


def test_a_decision_that_results_asked_for_is_made_and_applied_once(measured: ServiceLab) -> None:
    measured.service.selections.select(measured.service.models.get("kws"), AUTO, measured.service.devices.every())
    before = len(measured.store.list_decisions().items)
    for entry in run(measured):
        store(measured, measured.record_for(entry))
    restart(measured)
    (decision, *_) = measured.store.list_decisions().items
    assert decision.chosen is not None
    assert len(measured.store.list_decisions().items) == before + 1
    assert [item.decision_id for item in measured.store.list_deployments()] == [decision.decision_id]
    assert kinds(measured).count("benchmark.finished") == 1


def test_a_policy_for_one_device_moves_no_other_at_a_restart(measured: ServiceLab) -> None:
    for entry in run(measured):
        store(measured, measured.record_for(entry))
    measured.add_device("phone")
    measured.clock.advance(1)
    measured.service.selections.select(
        measured.service.models.get("kws"), AUTO, [measured.service.devices.get("phone")]
    )
    restart(measured)
    assert {decision.device_id for decision in measured.store.list_decisions().items} == {"phone"}
    assert measured.store.list_deployments() == ()
