"""Benchmarks, events and loads become reports that leave the queue only when they are acknowledged."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from muster_protos.errors import PermanentError
from muster_protos.model import (
    BenchmarkPhase,
    BenchmarkRecord,
    BenchmarkRequest,
    Configuration,
    Event,
    LoadRequest,
    LoadResult,
    LocalStatus,
    RecordState,
    Telemetry,
)

INT8 = Configuration("digits.v1.int8", "onnxruntime", "cpu", 1)


def request(number=1, attempt=0):
    return BenchmarkRequest(f"b{number}", attempt, INT8)


def records_of(house):
    return [report for report in house.link.reports() if isinstance(report.body, BenchmarkRecord)]


def test_a_benchmark_is_run_once_and_reported_with_its_place_in_the_queue(online):
    online.want(benchmarks=(request(),))
    (report,) = records_of(online)
    assert (report.request_id, report.attempt, report.body.request_id) == ("b1", 0, "b1")
    assert report.sequence == report.body.sequence > 0
    assert report.body.boot_id == "boot-1"
    online.pass_time(5)
    assert online.measurer.benchmarks == ["b1"]
    assert online.link.last_reported().benchmarks[0].phase is BenchmarkPhase.FINISHED


def test_offline_results_wait_and_are_sent_when_the_link_is_back(online):
    online.want()
    wanted = online.desired(benchmarks=(request(),))
    online.link.go_down()
    online.link.deliver(wanted)
    online.settle()
    assert records_of(online) == []
    online.restart()
    online.settle()
    online.link.come_up()
    online.settle()
    assert len(records_of(online)) == 1


def test_a_report_is_sent_again_until_it_is_acknowledged(online):
    online.want(benchmarks=(request(),))
    online.link.go_down()
    online.link.come_up()
    online.settle()
    first, second = records_of(online)
    assert first == second
    online.link.acknowledge(first)
    online.settle()
    online.link.go_down()
    online.link.come_up()
    online.settle()
    assert len(records_of(online)) == 2


def test_an_acknowledgement_that_is_overdue_has_the_report_sent_again(online):
    online.want(benchmarks=(request(),))
    online.pass_time(35)
    assert len(records_of(online)) == 2


def test_a_rejected_report_is_kept_for_people_and_not_sent_again(online):
    online.want(benchmarks=(request(),))
    (report,) = records_of(online)
    online.link.acknowledge(report, "p50 of 0 ns")
    online.settle()
    assert online.state.rejections() == (("b1", 0, report.sequence, "p50 of 0 ns"),)
    online.pass_time(40)
    assert len(records_of(online)) == 1


def test_sequence_numbers_rise_over_restarts(online):
    online.want(benchmarks=(request(1),))
    (first,) = records_of(online)
    online.link.acknowledge(first)
    online.settle()
    online.restart()
    online.link.come_up()
    online.want(benchmarks=(request(1), request(2)))
    second = records_of(online)[-1]
    assert second.request_id == "b2"
    assert second.sequence > first.sequence


def test_a_child_that_dies_is_an_invalid_record_with_the_reason(online):
    online.measurer.benchmark_errors = [PermanentError("killed by SIGSEGV while measuring")]
    online.want(benchmarks=(request(), request(2)))
    failed, good = records_of(online)
    assert (failed.body.state, failed.body.reasons) == (RecordState.INVALID, ("killed by SIGSEGV while measuring",))
    assert failed.body.latency is None
    assert good.body.state is RecordState.VALID
    assert [run.phase for run in online.link.last_reported().benchmarks] == [
        BenchmarkPhase.FAILED,
        BenchmarkPhase.FINISHED,
    ]


def test_an_interrupted_run_is_reported_and_tried_again_three_times_at_most(online):
    def killed():
        raise SystemExit

    online.measurer.while_running = killed
    online.link.deliver(online.desired(benchmarks=(request(),)))
    for _ in range(3):
        with contextlib.suppress(SystemExit):
            online.settle()
        online.restart()
        online.link.come_up()
    online.measurer.while_running = None
    online.settle()
    assert online.events().count("benchmark.interrupted") == 3
    (report,) = records_of(online)
    assert report.body.state is RecordState.INVALID
    assert "interrupted 3 times" in report.body.reasons[0]


def test_a_cancelled_request_is_forgotten(online):
    online.want(benchmarks=(request(),))
    online.want()
    assert online.state.runs("benchmark") == ()


def test_a_link_that_takes_little_gets_everything_in_the_end(online):
    online.link.room = 3
    online.want(benchmarks=tuple(request(number) for number in range(5)))
    for _ in range(20):
        online.link.room = 2
        online.settle()
    assert {report.request_id for report in records_of(online)} == {f"b{number}" for number in range(5)}


def test_events_of_serving_processes_are_reports_with_an_id(online):
    online.want(online.grant("d1"))
    online.daemon.inbox.serving_event(
        "digits", Event(kind="rung.changed", to_variant_id="digits.v1.int8", direction="down", reason="queue")
    )
    online.settle()
    moved = [r.body for r in online.link.reports() if isinstance(r.body, Event) and r.body.kind == "rung.changed"]
    assert len(moved) == 1
    assert moved[0].event_id
    assert online.link.last_reported().serving[0].active_variant_id == "digits.v1.int8"


def test_a_report_that_no_link_carries_is_set_aside_and_the_others_pass(online):
    monster = Event(event_id="e1", kind="rung.changed", at_ns=1, reason="x" * 5_000_000)
    online.state.queue_events([monster])  # as an earlier version of the agent may have queued it
    online.want(benchmarks=(request(),))
    assert len(records_of(online)) == 1
    ((_, _, sequence, reason),) = online.state.rejections()
    assert "never sent" in reason
    assert sequence not in [report.sequence for report in online.link.reports()]
    told = [r.body for r in online.link.reports() if isinstance(r.body, Event) and r.body.kind == "report.rejected"]
    assert [event.details["sequence"] for event in told] == [str(sequence)]


def test_what_an_app_says_in_an_event_is_bounded(online):
    details = {f"key {number}": "v" * 100_000 for number in range(1000)}
    online.daemon.inbox.serving_event("digits", Event(kind="k" * 9_000, reason="r" * 9_000, details=details))
    online.settle()
    (event,) = [r.body for r in online.link.reports() if isinstance(r.body, Event) and r.body.kind.startswith("kkk")]
    assert (len(event.kind), len(event.reason), len(event.details)) == (200, 1000, 32)
    assert {len(value) for value in event.details.values()} == {1000}


def test_telemetry_drops_its_oldest_while_offline(online):
    online.want(online.grant("d1"))
    online.served.statuses["digits"] = LocalStatus(active_variant_id="digits.v1.fp32", answered=99, slo_missed=1)
    online.link.go_down()
    online.pass_time(700)
    before = len(online.link.bodies(Telemetry))
    online.link.come_up()
    online.settle()
    assert len(online.link.bodies(Telemetry)) - before == 600
    assert online.link.bodies(Telemetry)[-1].variant_id in ("digits.v1.fp32", "")


def test_a_device_with_many_models_samples_them_by_turns(online):
    slow = online.daemon._slow
    many = tuple(f"m{number}" for number in range(40))
    seen = []
    for period in range(5):
        slow._periods = period
        seen.append(slow._turn_of(many))
    assert {len(turn) for turn in seen} == {16}
    assert frozenset().union(*seen) == frozenset(many)
    assert slow._turn_of(many[:16]) == frozenset(many[:16])


def test_a_load_runs_beside_other_steps_and_reports_its_result(online):
    online.want(online.grant("d1"))
    online.load.may_end.clear()
    load = LoadRequest("l1", 0, "digits")
    online.want(online.grant("d1"), loads=(load,), benchmarks=(request(),))
    assert online.link.last_reported().loads[0].phase is BenchmarkPhase.RUNNING
    assert online.measurer.benchmarks == []  # not beside our own load
    online.load.may_end.set()
    assert online.daemon.inbox.wake.wait(10)
    online.settle()
    results = [report for report in online.link.reports() if isinstance(report.body, LoadResult)]
    assert [(result.request_id, result.body.answered) for result in results] == [("l1", 10)]
    assert online.measurer.benchmarks == ["b1"]


def test_hello_names_the_version_that_the_device_has(online):
    online.want(version=7)
    online.link.go_down()
    online.link.come_up()
    online.settle()
    hello = online.link.hellos()[-1]
    assert (hello.desired_epoch, hello.desired_version, hello.inventory.device_id) == (1, 7, "pi")


def test_a_device_that_finds_out_more_about_itself_says_hello_again_and_repeats_nothing(online):
    online.want(version=7)
    hellos, reports = len(online.link.hellos()), len(online.link.reports())
    online.daemon.inbox.inventory_changed()
    online.settle()
    assert len(online.link.hellos()) == hellos + 1
    assert (online.link.hellos()[-1].desired_epoch, online.link.hellos()[-1].desired_version) == (1, 7)
    assert len(online.link.reports()) == reports
    online.link.go_down()
    online.daemon.inbox.inventory_changed()
    online.settle()
    assert len(online.link.hellos()) == hellos + 1


def test_an_unchanged_state_is_reported_once_per_session(online):
    online.want()
    from muster_protos.model import ReportedState

    before = len(online.link.bodies(ReportedState))
    online.pass_time(30)
    assert len(online.link.bodies(ReportedState)) == before


def test_a_damaged_database_is_rebuilt_and_the_last_good_model_serves_with_no_controller(online):
    online.want(replace(online.grant("d1"), is_committed=True), benchmarks=(request(),), version=7)
    used = {report.sequence for report in online.link.reports()}
    online.state.close()
    (online.folder / "agent.sqlite3").write_bytes(b"zeros" * 1000)
    online.link.go_down()
    online.served.up.clear()
    online.clock.advance(60)
    online.boot()
    online.settle()
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert online.daemon.reported().desired_version == 7
    online.link.come_up()
    online.settle()
    assert used.isdisjoint(report.sequence for report in online.state.reports(0, 10))
    assert "state.rebuilt" in online.events()


def ports_after_a_rebuild(house, *lost):
    """What the serving process is asked to listen on after the database, and perhaps more, was spoilt."""
    house.want(replace(house.grant("d1"), is_committed=True))
    assert (house.state.serving()["digits"].http_port, house.served.grants[-1].grant.http_port) == (40_001, 0)
    house.state.close()
    for name in ("agent.sqlite3", *lost):
        (house.folder / name).write_bytes(b"zeros" * 1000)
    house.served.up.clear()
    house.boot()
    house.settle()
    house.pass_time(3)  # what was lost is looked for every two seconds
    (loss,) = [item.body.reason for item in house.state.reports(0, 1000) if item.body.kind == "state.rebuilt"]
    return house.served.grants[-1].grant.http_port, house.served.grants[-1].grant.grpc_port, loss


def test_the_serving_ports_survive_a_rebuild_of_the_database(online):
    http_port, grpc_port, loss = ports_after_a_rebuild(online)
    assert (http_port, grpc_port, "serving ports" in loss) == (40_001, 40_002, False)


def test_serving_ports_that_are_lost_are_named(online):
    http_port, _, loss = ports_after_a_rebuild(online, "ports.copy")
    assert (http_port, loss.endswith("run records, the serving ports of digits")) == (0, True)


def test_ports_that_an_earlier_version_kept_in_the_database_alone_are_copied_at_the_start(online):
    online.want(replace(online.grant("d1"), is_committed=True))
    content = (online.folder / "ports.copy").read_bytes()
    (online.folder / "ports.copy").unlink()
    online.restart()
    assert (online.folder / "ports.copy").read_bytes() == content


def test_damaged_copies_beside_a_damaged_database_leave_an_empty_device(online):
    online.want(replace(online.grant("d1"), is_committed=True))
    online.state.close()
    for name in ("agent.sqlite3", "desired.copy", "last-good.copy"):
        (online.folder / name).write_bytes(b"zeros" * 1000)
    online.served.up.clear()
    online.boot()
    online.settle()
    assert online.served.up == {}
    assert online.daemon.reported().desired_version == 0
