"""What devices say is stored once, acknowledged after that, and concerns only them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from muster_controller.core.entities import DesiredRow, Presence, RequestState
from muster_controller.ports import DeviceSession
from muster_controller.service.bench import RunOrder
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos import codec
from muster_protos.envelope import signed_bytes
from muster_protos.errors import NotFoundError, TemporaryError
from muster_protos.model import (
    AgentMessage,
    BenchmarkPhase,
    Desired,
    DesiredState,
    Emulation,
    Event,
    Hello,
    Inventory,
    Latency,
    Progress,
    RecordState,
    Report,
    ReportedBenchmark,
    ReportedState,
    RuntimeSupport,
    Telemetry,
)


def say(lab: ServiceLab, session: RecordingSession, *bodies: object) -> None:
    lab.service.sessions.messages_received(session, [AgentMessage(body) for body in bodies])  # type: ignore[arg-type]


def started_run(lab: ServiceLab, *device_ids: str) -> str:
    model = lab.service.models.get("kws")
    variants = lab.service.models.kept(model, ("fp32",))
    devices = [lab.service.devices.get(device_id) for device_id in device_ids]
    return lab.service.bench.start(model, variants, devices, RunOrder(threads=(1,))).run_id


def test_a_device_is_online_while_its_session_lasts(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    assert lab.store.get_device("pi").presence is Presence.ONLINE
    lab.service.sessions.session_closed(session, "gone")
    assert lab.store.get_device("pi").presence is Presence.OFFLINE


def test_a_device_that_is_removed_while_its_session_opens_has_none(
    lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_device("pi")
    add = lab.service.live.add

    def add_late(session: DeviceSession) -> DeviceSession | None:
        lab.service.devices.remove("pi")
        return add(session)

    monkeypatch.setattr(lab.service.live, "add", add_late)
    session = RecordingSession("pi")
    lab.service.sessions.session_opened(session)
    assert session.closed == [("this device was removed from the fleet", True)]
    lab.service.sessions.session_closed(session, "removed")
    assert lab.service.live.get("pi") is None


def test_a_newer_session_replaces_the_older_and_its_end_does_not_take_the_device_offline(lab: ServiceLab) -> None:
    lab.add_device("pi")
    old, new = lab.open_session("pi"), lab.open_session("pi")
    assert old.closed
    lab.service.sessions.session_closed(old, "replaced")
    assert lab.store.get_device("pi").presence is Presence.ONLINE
    assert lab.service.live.get("pi") is new


def test_a_session_that_opens_while_the_older_one_ends_leaves_the_device_online(
    lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both write in one group commit: the end may be written last, though the new session was there first."""
    lab.add_device("pi")
    old, new = lab.open_session("pi"), RecordingSession("pi")
    together = lab.store.together

    def opened_meanwhile(write: Callable[[], None]) -> None:
        monkeypatch.setattr(lab.store, "together", together)
        lab.service.sessions.session_opened(new)
        together(write)

    monkeypatch.setattr(lab.store, "together", opened_meanwhile)
    lab.service.sessions.session_closed(old, "gone")
    assert lab.store.get_device("pi").presence is Presence.ONLINE
    lab.service.sessions.session_closed(new, "gone")
    assert lab.store.get_device("pi").presence is Presence.OFFLINE


def test_a_revoked_device_is_told_not_to_come_back(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    lab.service.devices.remove("pi")
    assert session.closed[-1][1]
    again = RecordingSession("pi")
    lab.service.sessions.session_opened(again)
    assert again.closed == [("this device was removed from the fleet", True)]


def test_a_record_is_stored_and_acknowledged_and_closes_its_request(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    run = started_run(lab, "pi")
    (entry,) = lab.service.bench.requests(run)
    ack = lab.answer(session, entry)
    assert (ack.request_id, ack.sequence, ack.rejected_reason) == (entry.request.request_id, 1, "")
    assert [record.request_id for record in lab.service.bench.records(run)] == [entry.request.request_id]
    assert lab.service.bench.requests(run)[0].state is RequestState.DONE


def test_a_report_sent_twice_is_acknowledged_twice_and_stored_once(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    for _ in range(3):
        assert lab.answer(session, entry).rejected_reason == ""
    assert len(session.acks()) == 3
    assert len(lab.service.bench.records(entry.run_id)) == 1


def test_nothing_is_acknowledged_when_the_store_cannot_commit(lab: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")

    def full(reports: object) -> None:
        raise TemporaryError("disk full")

    monkeypatch.setattr(lab.store, "store_reports", full)
    with pytest.raises(TemporaryError):
        say(lab, session, Report("events", 0, 1, Event("e1", "child.crashed", 1)))
    assert session.acks() == []


@pytest.mark.parametrize(
    "change",
    [
        {"latency": Latency(n=5000, min=1, mean=math.nan, p50=2)},
        {"latency": Latency(n=5000, min=1, mean=2.0, p50=0)},
        {"latency": Latency(n=5000, min=5, mean=2.0, p50=3, p95=2)},
        {"reasons": ("x" * 10_000,)},
    ],
)
def test_a_lying_record_is_quarantined_with_its_reason_and_never_steers(
    lab: ServiceLab, change: dict[str, object]
) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    assert lab.answer(session, entry, **change).rejected_reason
    assert lab.service.bench.records(entry.run_id) == ()
    assert [report.device_id for report in lab.store.list_reports(is_rejected=True).items] == ["pi"]
    assert "report.rejected" in {event.kind for event in lab.service.events.list()}


def test_a_record_of_other_bytes_than_the_requested_variant_is_rejected(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    (fp16,) = lab.service.models.kept(lab.service.models.get("kws"), ("fp16",))
    ack = lab.answer(session, entry, artifact=fp16.manifest.artifact)
    assert ack.rejected_reason.startswith("wrong artifact")
    assert lab.service.bench.records(entry.run_id) == ()


def test_a_device_that_says_it_is_emulated_cannot_report_a_record_as_measured_on_hardware(lab: ServiceLab) -> None:
    device = lab.add_device("phone")
    lab.store.put_inventory("phone", replace(device.inventory, emulation=Emulation("phone", ())))
    lab.add_model()
    session = lab.open_session("phone")
    (entry,) = lab.service.bench.requests(started_run(lab, "phone"))
    assert "emulated as 'phone'" in lab.answer(session, entry).rejected_reason


def test_a_record_is_judged_by_the_inventory_of_the_hello_that_came_with_it(lab: ServiceLab) -> None:
    device = lab.add_device("phone")
    lab.add_model()
    session = lab.open_session("phone")
    (entry,) = lab.service.bench.requests(started_run(lab, "phone"))
    emulation = Emulation("phone", ())
    record = replace(lab.record_for(entry), emulation=emulation)
    hello = Hello(replace(device.inventory, emulation=emulation))
    say(lab, session, Report(entry.request.request_id, 1, 1, record), hello)
    assert [ack.rejected_reason for ack in session.acks()] == [""]
    assert len(lab.service.bench.records(entry.run_id)) == 1


def test_a_record_about_another_device_is_rejected(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_device("phone")
    lab.add_model()
    liar = lab.open_session("phone")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    assert "another device" in lab.answer(liar, entry).rejected_reason
    assert lab.service.bench.requests(entry.run_id)[0].state is RequestState.OPEN


def test_events_keep_the_session_s_device_id(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    say(lab, session, Report("events", 0, 1, Event("e1", "rung.changed", 7, "kws", "a", "b", "down", "slo")))
    (event,) = lab.service.events.list(kind="rung.changed")
    assert (event.device_id, event.direction, event.reason) == ("pi", "down", "slo")


def test_inventory_telemetry_and_progress_are_kept(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    say(
        lab,
        session,
        Hello(Inventory(device_id="somebody-else", cores=4)),
        Telemetry(at_ns=lab.clock.now_ns(), model_id="kws", requests_per_s=3.0),
        Progress("benchmark", "req-1", 1, 4, "warming up"),
    )
    device = lab.store.get_device("pi")
    assert (device.inventory.device_id, device.inventory.cores) == ("pi", 4)
    assert [sample.requests_per_s for sample in lab.service.telemetry("pi", 0)] == [3.0]
    assert [(item.device_id, item.note) for item in lab.service.progress.list()] == [("pi", "warming up")]


def test_the_desired_state_is_signed_and_sent_to_the_live_session(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    first = session.wait_desired()
    lab.add_model()
    model = lab.service.models.get("kws")
    lab.service.pushes.push(model, lab.service.models.kept(model), [lab.service.devices.get("pi")])
    state = session.wait_desired(above=first.version)
    assert [(item.model_id, len(item.manifests)) for item in state.models] == [("kws", 2)]
    row = lab.store.desired("pi")
    assert row is not None
    lab.authority.verifier.verify([row.envelope, *state.models[0].manifests])
    assert signed_bytes(row.envelope.payload_type, row.envelope.payload)


def test_an_unchanged_state_keeps_its_version(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.service.desired.refresh("pi")
    first = lab.store.desired("pi")
    lab.service.desired.refresh("pi")
    assert lab.store.desired("pi") == first


def test_a_version_that_the_device_has_above_ours_is_adopted(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    say(lab, session, Hello(Inventory(), desired_epoch=1, desired_version=41))
    row = lab.store.desired("pi")
    assert row is not None
    assert row.version == 42
    assert codec.decode(DesiredState, row.envelope.payload).version == 42


def test_an_epoch_that_the_device_has_above_ours_is_adopted_for_it_alone(lab: ServiceLab) -> None:
    """It was with a later restore than this one: below that epoch it would never listen again."""
    for device_id in ("pi", "phone"):
        lab.add_device(device_id)
        lab.open_session(device_id)
    ahead = RecordingSession("pi")
    say(lab, ahead, Hello(Inventory(), desired_epoch=7, desired_version=41))
    say(lab, ahead, Hello(Inventory(), desired_epoch=7, desired_version=42))
    lab.service.desired.refresh("pi")
    row, other = lab.store.desired("pi"), lab.store.desired("phone")
    assert row is not None
    assert other is not None
    assert (row.epoch, row.version, other.epoch) == (7, 42, lab.service.fleets.fleet.epoch)
    sent = codec.decode(DesiredState, row.envelope.payload)
    assert (sent.epoch, sent.version) == (7, 42)


def test_a_device_reads_only_the_artifacts_of_its_own_desired_state(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_device("phone")
    lab.add_model()
    model = lab.service.models.get("kws")
    (fp32,) = lab.service.models.kept(model, ("fp32",))
    lab.service.pushes.push(model, [fp32], [lab.service.devices.get("pi")])
    sha256 = fp32.manifest.artifact.sha256
    assert lab.service.sessions.read_artifact("pi", sha256, 1, 2) == (b"nn", 4)
    with pytest.raises(NotFoundError):
        lab.service.sessions.read_artifact("phone", sha256, 0, 0)
    with pytest.raises(NotFoundError):
        lab.service.sessions.read_artifact("pi", sha256, 5, 0)


def test_a_failed_attempt_is_retried_and_given_up_after_the_third(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    for attempt in (1, 2, 3):
        failed = ReportedBenchmark(entry.request.request_id, attempt, BenchmarkPhase.FAILED, "killed by SIGKILL")
        say(lab, session, ReportedState(device_id="pi", benchmarks=(failed,)))
    (after,) = lab.service.bench.requests(entry.run_id)
    assert (after.state, after.request.attempt, after.reason) == (RequestState.FAILED, 3, "killed by SIGKILL")
    assert "benchmark.finished" in {event.kind for event in lab.service.events.list()}


def test_an_invalid_record_is_kept_and_its_request_retried(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    ack = lab.answer(session, entry, state=RecordState.INVALID, latency=None, reasons=("interrupted",))
    assert ack.rejected_reason == ""
    (after,) = lab.service.bench.requests(entry.run_id)
    assert (after.state, after.request.attempt) == (RequestState.OPEN, 2)


def test_a_request_whose_answer_was_rejected_is_retried_and_at_last_given_up(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    lie = Latency(n=5000, min=5, mean=2.0, p50=3, p95=2)
    for attempt in (1, 2, 3):
        (now,) = lab.service.bench.requests(entry.run_id)
        assert (now.state, now.request.attempt) == (RequestState.OPEN, attempt)
        state = codec.decode(DesiredState, lab.store.desired("pi").envelope.payload)  # type: ignore[union-attr]
        assert [item.attempt for item in state.benchmarks] == [attempt]
        assert lab.answer(session, now, latency=lie).rejected_reason
    (after,) = lab.service.bench.requests(entry.run_id)
    assert after.state is RequestState.FAILED
    assert after.reason.startswith("report rejected: latency")
    assert [event.kind for event in lab.service.events.list(kind="benchmark.finished")] == ["benchmark.finished"]
    state = codec.decode(DesiredState, lab.store.desired("pi").envelope.payload)  # type: ignore[union-attr]
    assert state.benchmarks == ()


def test_a_rejected_report_about_another_device_s_request_moves_nothing(lab: ServiceLab) -> None:
    for device_id in ("pi", "phone"):
        lab.add_device(device_id)
    lab.add_model()
    liar, session = lab.open_session("phone"), lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    lab.answer(session, entry)
    told = len(lab.service.events.list(kind="benchmark.finished"))
    assert lab.answer(liar, entry, record_id="other").rejected_reason
    assert lab.service.bench.requests(entry.run_id)[0].state is RequestState.DONE
    assert len(lab.service.events.list(kind="benchmark.finished")) == told == 1


def test_open_requests_are_desired_again_after_a_restart(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    started_run(lab, "pi")
    from muster_controller.service.service import Service

    restarted = Service(lab.context)
    try:
        restarted.start()
        session = RecordingSession("pi")
        restarted.sessions.session_opened(session)
        assert len(session.wait_desired().benchmarks) == 1
    finally:
        restarted.close()


def test_a_desired_state_that_could_not_be_read_is_sent_later_though_nothing_else_happens(
    lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muster_controller.service.sessions._WAKE_AGAIN_S", 0.01)
    lab.add_device("pi")
    lab.add_model()
    started_run(lab, "pi")
    desired, faults = lab.store.desired, [OSError("no descriptor is left"), OSError("no descriptor is left")]

    def failing(device_id: str) -> DesiredRow | None:
        if faults:
            raise faults.pop()
        return desired(device_id)

    monkeypatch.setattr(lab.store, "desired", failing)
    session = RecordingSession("pi")
    lab.service.sessions.session_opened(session)
    assert len(session.wait_desired().benchmarks) == 1
    assert faults == []


def test_a_session_of_an_unknown_device_is_closed_for_good(lab: ServiceLab) -> None:
    session = RecordingSession("ghost")
    lab.service.sessions.session_opened(session)
    assert session.closed == [("this device is unknown here; join it", True)]


def test_a_request_for_a_runtime_that_the_device_lost_is_closed_with_the_reason(lab: ServiceLab) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    (entry,) = lab.service.bench.requests(started_run(lab, "pi"))
    litert = RuntimeSupport("litert", "2.3", ("xnnpack",), ("tflite",))
    say(lab, session, Hello(Inventory(device_id="pi", cores=2, runtimes=(litert,))))
    (after,) = lab.service.bench.requests(entry.run_id)
    assert (after.state, after.reason) == (RequestState.FAILED, "the device has no runtime 'onnxruntime'")


def test_a_hello_that_changes_nothing_brings_the_desired_state_no_second_time(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    held = session.wait_desired()
    for _ in range(3):
        say(lab, session, Hello(lab.store.get_inventory("pi"), held.epoch, held.version))
    lab.add_model()
    started_run(lab, "pi")
    session.wait_desired(above=held.version)
    assert len([message for message in session.sent if isinstance(message.body, Desired)]) == 2
