"""A device that lies: what it says is kept with the reason, bounded, and moves nobody else."""

from __future__ import annotations

import math
from dataclasses import replace

from muster_controller.core.entities import Device
from muster_controller.core.sample_rate import SAMPLES_AT_ONCE, SAMPLES_PER_S
from muster_controller.service.bench import RunOrder
from muster_controller.service.progress import _MAX_OF_DEVICE
from muster_controller.service.quarantine import KEPT_BYTES, KEPT_REPORTS, TOLD_EVENTS
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos.model import (
    AgentMessage,
    BenchmarkPhase,
    BenchmarkRecord,
    Configuration,
    DeploymentState,
    Event,
    Hello,
    Inventory,
    LoadResult,
    Progress,
    Report,
    ReportedArtifact,
    ReportedBenchmark,
    ReportedServing,
    ReportedState,
    Telemetry,
)


def say(lab: ServiceLab, session: RecordingSession, *bodies: object) -> None:
    lab.service.sessions.messages_received(session, [AgentMessage(body) for body in bodies])  # type: ignore[arg-type]


def rejections(lab: ServiceLab, device_id: str) -> list[str]:
    found = lab.service.events.list(0, device_id, None, 1000)
    return [event.reason for event in found if event.kind in ("report.rejected", "message.rejected")]


def test_each_lying_message_is_dropped_with_an_event_and_the_good_ones_beside_it_count(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    now_ns = lab.clock.now_ns()
    say(
        lab,
        session,
        Telemetry(now_ns, requests_per_s=math.nan),
        Telemetry(now_ns, p50_ns=5),
        Telemetry(now_ns, p50_ns=-5),
        Progress("fetch", "a", math.inf, 1.0),
        Progress("fetch", "b", 0.5, 1.0),
        Hello(Inventory("pi", cores=-1)),
        ReportedState("pi", artifacts=(ReportedArtifact("../../etc/passwd"),)),
    )
    assert [sample.p50_ns for sample in lab.store.list_telemetry("pi", 0)] == [5]
    assert [entry.id for entry in lab.service.progress.list()] == ["b"]
    device = lab.store.get_device("pi")
    assert (device.inventory.cores, device.reported) == (2, None)
    assert sorted(reason.split(":")[0] for reason in rejections(lab, "pi")) == [
        "cores",
        "done",
        "p50_ns",
        "requests_per_s",
        "sha256",
    ]


def test_a_device_that_lies_without_end_fills_neither_the_store_nor_the_feed(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    endless = "x" * (64 * 1024)
    for start in range(0, 1_500, 100):
        say(lab, session, *(Report("../x", 0, start + n, Event("e", "k", reason=endless)) for n in range(100)))
    kept = []
    cursor = ""
    while True:
        page = lab.store.list_reports("pi", True, cursor, 500)
        kept += page.items
        cursor = page.next_cursor
        if not cursor:
            break
    assert len(kept) == KEPT_REPORTS
    assert all(row.rejected_reason and len(row.payload) <= KEPT_BYTES for row in kept)
    assert len(session.acks()) == 1_500, "what is not kept is acknowledged too, or it would come for ever"
    assert all("request id" in ack.rejected_reason for ack in session.acks())
    assert len(rejections(lab, "pi")) == TOLD_EVENTS
    lab.clock.advance(61)
    say(lab, session, Telemetry(p50_ns=-1))
    assert lab.service.events.list(0, "pi", "message.rejected", 10)[-1].details["more"] == str(
        KEPT_REPORTS - TOLD_EVENTS
    )


def test_an_answer_to_an_open_request_is_kept_even_of_a_device_whose_quarantine_is_full(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    say(lab, session, *(Report("../x", 0, n, Event("e", "k")) for n in range(KEPT_REPORTS + 5)))
    model = lab.service.models.get("kws")
    devices = [lab.service.devices.get("pi")]
    run = lab.service.bench.start(model, lab.service.models.kept(model, ("fp32",)), devices, RunOrder(threads=(1,)))
    (entry,) = lab.service.bench.requests(run.run_id)
    asked = entry.request
    say(lab, session, Report(asked.request_id, asked.attempt, 9_999, BenchmarkRecord(throughput_ips=math.nan)))
    assert len(lab.store.list_reports("pi", True, "", 2_000).items) == KEPT_REPORTS + 1
    (after,) = lab.service.bench.requests(run.run_id)
    assert after.request.attempt == asked.attempt + 1, "the lie has failed its attempt, and the next one is asked for"


def snapshot(lab: ServiceLab, device_id: str) -> tuple[object, ...]:
    """All that the fleet holds of a device."""
    store = lab.store
    device: Device = store.get_device(device_id)
    return (
        device,
        store.desired(device_id),
        store.list_requests(device_id=device_id),
        store.list_reports(device_id).items,
        store.list_records(device_id=device_id).items,
        store.list_telemetry(device_id, 0),
        store.list_deployments(device_id=device_id),
        store.list_loads(device_id),
        list(lab.service.events.list(0, device_id, None, 1000)),
        [entry for entry in lab.service.progress.list() if entry.device_id == device_id],
    )


def test_whatever_one_device_says_about_another_changes_nothing_of_it(lab: ServiceLab) -> None:
    lab.add_device("liar")
    lab.add_device("pi")
    lab.add_model()
    liar, honest = lab.open_session("liar"), lab.open_session("pi")
    model = lab.service.models.get("kws")
    devices = [lab.service.devices.get("pi")]
    run = lab.service.bench.start(model, lab.service.models.kept(model, ("fp32",)), devices, RunOrder(threads=(1,)))
    (entry,) = lab.service.bench.requests(run.run_id)
    asked = entry.request
    say(lab, honest, Progress("benchmark", asked.request_id, 1, 2), Telemetry(lab.clock.now_ns(), p50_ns=7))
    before = snapshot(lab, "pi")
    record = BenchmarkRecord(
        record_id="r-1",
        request_id=asked.request_id,
        attempt=asked.attempt,
        configuration=asked.configuration,
        model_id="kws",
        model_version=1,
    )
    say(
        lab,
        liar,
        Hello(Inventory("pi", cores=1), desired_epoch=2**60, desired_version=2**61),
        Hello(Inventory("pi", cores=64), desired_version=50),
        ReportedState(
            "pi",
            serving=(ReportedServing("kws", "dep-1", DeploymentState.FAILED),),
            benchmarks=(ReportedBenchmark(asked.request_id, asked.attempt, BenchmarkPhase.FAILED, "no"),),
            loads=(ReportedBenchmark("load-1", 0, BenchmarkPhase.FAILED, "no"),),
        ),
        Report(asked.request_id, asked.attempt, 1, record),
        Report(asked.request_id, asked.attempt, 2, replace(record, configuration=Configuration("kws.v1.int8"))),
        Report(asked.request_id, asked.attempt, 3, LoadResult(asked.request_id, asked.attempt)),
        Report("events", 0, 4, Event("e-1", "device.removed", model_id="kws")),
        *(Progress("benchmark", asked.request_id, 2, 2) for _ in range(3)),
        *(Progress("fetch", f"made-up-{n}", 1, 1) for n in range(20_000)),
        *(Telemetry(lab.clock.now_ns(), "kws", p50_ns=1) for _ in range(50)),
    )
    assert snapshot(lab, "pi") == before
    assert len([entry for entry in lab.service.progress.list() if entry.device_id == "liar"]) == _MAX_OF_DEVICE
    ack = lab.answer(honest, entry)
    assert ack.rejected_reason == "", "and the honest one's own answer still counts"


def test_a_flood_of_telemetry_is_cut_and_told_and_another_device_does_not_notice(lab: ServiceLab) -> None:
    for device_id in ("pi", "liar"):
        lab.add_device(device_id)
    liar, honest = lab.open_session("liar"), lab.open_session("pi")
    now_ns = lab.clock.now_ns()
    for _ in range(30):
        say(lab, liar, *(Telemetry(now_ns, p50_ns=number) for number in range(100)))
    kept = lab.store.list_telemetry("liar", 0, limit=10_000)
    assert len(kept) == SAMPLES_AT_ONCE
    assert 0 < len(rejections(lab, "liar")) <= TOLD_EVENTS
    say(lab, honest, Telemetry(now_ns, p50_ns=7))
    assert len(lab.store.list_telemetry("pi", 0)) == 1
    lab.clock.advance(10)
    say(lab, liar, *(Telemetry(now_ns, p50_ns=10**6 + number) for number in range(1_000)))
    more = lab.store.list_telemetry("liar", 0, limit=10_000)
    assert len(more) == len(kept) + 10 * SAMPLES_PER_S
    assert max(sample.p50_ns or 0 for sample in more) == 10**6 + 999, "the newest are taken"
