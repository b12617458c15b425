"""What every store must do, one noun after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from muster_controller.core.entities import (
    Candidate,
    Decision,
    DesiredRow,
    DeviceLoad,
    FleetEvent,
    JoinToken,
    ModelPolicy,
    Operation,
    OperationState,
    Presence,
    Push,
    RequestState,
    RolloutState,
)
from muster_controller.ports import Page, Store
from muster_controller.testing_values import (
    NOW_NS,
    make_accuracy,
    make_configuration,
    make_deployment,
    make_device,
    make_fleet,
    make_inventory,
    make_model,
    make_record,
    make_request,
    make_rollout,
    make_run,
    make_stored_report,
    make_variant,
    sha256_of,
)
from muster_protos.errors import ConflictError, InvalidInputError, NotAuthorisedError, NotFoundError
from muster_protos.model import (
    DeploymentState,
    Event,
    LoadRequest,
    LoadResult,
    RecordState,
    ReportedState,
    SignedEnvelope,
    Slo,
    Telemetry,
)

TOKEN = JoinToken("tok-1", sha256_of("secret"), NOW_NS, NOW_NS + 10**9, uses_left=1)


def with_model(store: Store) -> None:
    store.put_device(make_device())
    store.add_model(make_model(), make_variant())


def with_run(store: Store) -> None:
    with_model(store)
    store.add_run(make_run(), [make_request()])


class TestFleetAndTokens:
    def test_a_new_store_has_no_fleet(self, store: Store) -> None:
        assert store.fleet() is None

    def test_a_fleet_is_stored_once(self, store: Store) -> None:
        store.init_fleet(make_fleet())
        with pytest.raises(ConflictError):
            store.init_fleet(make_fleet("other"))
        assert store.fleet() == make_fleet()

    def test_a_token_with_one_use_is_good_once(self, store: Store) -> None:
        store.add_token(TOKEN)
        assert store.use_token(TOKEN.secret_sha256, NOW_NS).uses_left == 0
        with pytest.raises(NotAuthorisedError, match="used up"):
            store.use_token(TOKEN.secret_sha256, NOW_NS)
        assert store.list_tokens() == (replace(TOKEN, uses_left=0),)

    def test_a_token_is_refused_after_it_expired_or_was_revoked(self, store: Store) -> None:
        store.add_token(TOKEN)
        with pytest.raises(NotAuthorisedError, match="expired"):
            store.use_token(TOKEN.secret_sha256, TOKEN.expires_at_ns)
        store.revoke_token(TOKEN.token_id)
        with pytest.raises(NotAuthorisedError, match="revoked"):
            store.use_token(TOKEN.secret_sha256, NOW_NS)
        assert store.list_tokens()[0].uses_left == 1

    def test_an_unknown_secret_is_refused(self, store: Store) -> None:
        with pytest.raises(NotAuthorisedError, match="unknown"):
            store.use_token(sha256_of("guess"), NOW_NS)

    def test_revoking_an_unknown_token_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            store.revoke_token("tok-9")

    def test_two_tokens_never_share_a_secret_or_an_id(self, store: Store) -> None:
        store.add_token(TOKEN)
        with pytest.raises(ConflictError):
            store.add_token(replace(TOKEN, token_id="tok-2"))
        with pytest.raises(ConflictError):
            store.add_token(replace(TOKEN, secret_sha256=sha256_of("other")))

    def test_twenty_threads_take_a_tokens_three_uses_exactly_three_times(self, store: Store) -> None:
        store.add_token(replace(TOKEN, uses_left=3))
        outcomes = in_threads(20, lambda _: store.use_token(TOKEN.secret_sha256, NOW_NS))
        assert sum(not isinstance(outcome, NotAuthorisedError) for outcome in outcomes) == 3
        assert store.list_tokens()[0].uses_left == 0


class TestDevices:
    def test_a_device_comes_back_as_it_was_put(self, store: Store) -> None:
        device = replace(make_device(labels={"room": "kitchen", "kind": "pi"}), reported=ReportedState("pi-1", 1, 2))
        store.put_device(device)
        assert store.get_device("pi-1") == device

    def test_joining_twice_replaces_identity_and_inventory_and_keeps_the_rest(self, store: Store) -> None:
        store.put_device(make_device(labels={"room": "kitchen"}))
        store.rename_device("pi-1", "Küche")
        store.revoke_device("pi-1")
        again = replace(make_device(), certificate_serial="02", inventory=make_inventory(cores=8), joined_at_ns=1)
        store.put_device(again)
        found = store.get_device("pi-1")
        assert (found.certificate_serial, found.inventory.cores, found.is_revoked) == ("02", 8, False)
        assert (found.name, found.labels, found.joined_at_ns) == ("Küche", {"room": "kitchen"}, NOW_NS)
        assert len(store.list_devices().items) == 1

    def test_that_other_hardware_took_an_id_over_is_kept(self, store: Store) -> None:
        store.put_device(make_device())
        store.put_device(replace(make_device(), public_key_sha256="another", replaced_at_ns=7))
        assert store.get_device("pi-1").replaced_at_ns == 7

    def test_presence_reported_state_and_inventory_are_replaced(self, store: Store) -> None:
        store.put_device(make_device())
        store.put_presence("pi-1", Presence.ONLINE, "grpc", NOW_NS + 1)
        store.put_reported("pi-1", ReportedState("pi-1", 1, 7), NOW_NS + 2)
        store.put_inventory("pi-1", make_inventory(cores=2))
        assert store.get_inventory("pi-1") == make_inventory(cores=2)
        found = store.get_device("pi-1")
        assert (found.presence, found.link, found.last_seen_ns) == (Presence.ONLINE, "grpc", NOW_NS + 2)
        assert found.reported == ReportedState("pi-1", 1, 7)
        assert found.inventory.cores == 2

    def test_an_inventory_may_bring_the_offset_of_its_clock(self, store: Store) -> None:
        store.put_device(make_device())
        store.put_inventory("pi-1", make_inventory(cores=2), -(2**62))
        store.put_inventory("pi-1", make_inventory(cores=3))
        found = store.get_device("pi-1")
        assert (found.inventory.cores, found.clock_offset_ns) == (3, -(2**62))

    def test_after_a_start_nobody_is_online_and_what_was_seen_of_them_is_kept(self, store: Store) -> None:
        for device_id in ("was-online", "never-said-when", "offline", "never"):
            store.put_device(make_device(device_id))
        store.put_presence("was-online", Presence.ONLINE, "mqtt", 5)
        store.put_presence("never-said-when", Presence.ONLINE, "grpc", 0)
        store.put_presence("offline", Presence.OFFLINE, "grpc", 3)
        store.reset_presence(9)
        found = {each.device_id: (each.presence, each.link, each.last_seen_ns) for each in store.list_devices().items}
        assert found == {
            "was-online": (Presence.OFFLINE, "mqtt", 5),
            "never-said-when": (Presence.OFFLINE, "grpc", 9),
            "offline": (Presence.OFFLINE, "grpc", 3),
            "never": (Presence.NEVER, "", 0),
        }

    @pytest.mark.parametrize(
        "call",
        [
            lambda store: store.get_device("no"),
            lambda store: store.get_inventory("no"),
            lambda store: store.revoke_device("no"),
            lambda store: store.rename_device("no", "x"),
            lambda store: store.set_labels("no", {"a": "b"}),
            lambda store: store.put_inventory("no", make_inventory("no")),
            lambda store: store.put_presence("no", Presence.ONLINE, "grpc", 1),
            lambda store: store.put_reported("no", ReportedState("no"), 1),
        ],
    )
    def test_an_unknown_device_is_not_found(self, store: Store, call: Callable[[Store], object]) -> None:
        with pytest.raises(NotFoundError):
            call(store)

    def test_devices_are_filtered_by_every_label(self, store: Store) -> None:
        store.put_device(make_device("a", labels={"room": "kitchen", "kind": "pi"}))
        store.put_device(make_device("b", labels={"room": "kitchen"}))
        store.put_device(make_device("c", labels={"kind": "pi"}))
        store.set_labels("c", {"kind": "jetson"})
        assert [device.device_id for device in store.list_devices({"room": "kitchen"}).items] == ["a", "b"]
        assert [device.device_id for device in store.list_devices({"room": "kitchen", "kind": "pi"}).items] == ["a"]
        assert [device.device_id for device in store.list_devices({"kind": "jetson"}).items] == ["c"]
        assert store.list_devices({"kind": "jetson"}).items[0].labels == {"kind": "jetson"}

    def test_pages_cover_every_device_once_in_order(self, store: Store) -> None:
        ids = [f"pi-{number:02}" for number in range(7)]
        for device_id in reversed(ids):
            store.put_device(make_device(device_id))
        seen = pages(lambda cursor: store.list_devices(cursor=cursor, limit=3))
        assert [device.device_id for device in seen] == ids
        assert store.list_devices(limit=7).next_cursor == ""

    def test_an_empty_page_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInputError):
            store.list_devices(limit=0)


class TestModels:
    def test_model_and_baseline_come_back_bit_for_bit(self, store: Store) -> None:
        model, variant = make_model(), make_variant(accuracy=make_accuracy())
        store.add_model(model, variant)
        assert store.get_model("digits") == model
        assert store.get_variant("digits.v1.fp32") == variant
        assert store.get_variant("digits.v1.fp32").envelope.payload == variant.envelope.payload

    def test_a_version_is_stored_once_and_the_newest_is_found(self, store: Store) -> None:
        store.add_model(make_model(), make_variant())
        with pytest.raises(ConflictError):
            store.add_model(make_model(), make_variant("other"))
        store.add_model(make_model(version=2), make_variant(version=2))
        store.add_model(make_model("kws"), make_variant(model_id="kws"))
        assert store.get_model("digits").version == 2
        assert store.get_model("digits", 1).version == 1
        assert [(model.model_id, model.version) for model in store.list_models().items] == [("digits", 2), ("kws", 1)]

    def test_variants_belong_to_one_version(self, store: Store) -> None:
        store.add_model(make_model(), make_variant())
        store.add_variant(make_variant("int8", parent="fp32"))
        store.add_model(make_model(version=2), make_variant(version=2))
        names = [variant.manifest.name for variant in store.list_variants("digits", 1)]
        assert names == ["fp32", "int8"]
        with pytest.raises(ConflictError):
            store.add_variant(make_variant("int8"))
        with pytest.raises(NotFoundError):
            store.add_variant(make_variant("int8", model_id="nobody"))

    def test_unknown_models_and_variants_are_not_found(self, store: Store) -> None:
        for call in (
            lambda: store.get_model("no"),
            lambda: store.get_variant("no"),
            lambda: store.remove_model("no"),
        ):
            with pytest.raises(NotFoundError):
                call()
        store.add_model(make_model(), make_variant())
        with pytest.raises(NotFoundError):
            store.get_model("digits", 9)

    def test_every_artifact_of_a_model_is_referenced_until_it_is_removed(self, store: Store) -> None:
        with_run(store)
        store.put_policy(ModelPolicy("digits", "objective: size", NOW_NS))
        store.put_push(Push("pi-1", "digits", 1, ("digits.v1.fp32",)))
        variant = make_variant().manifest
        assert variant.golden is not None
        assert variant.evaluation is not None
        assert store.referenced_sha256s() == {
            variant.artifact.sha256,
            variant.golden.sha256,
            variant.evaluation.sha256,
        }
        store.remove_model("digits")
        assert store.referenced_sha256s() == frozenset()
        assert store.list_variants("digits", 1) == ()
        assert store.list_pushes("pi-1") == ()
        assert store.get_policy("digits") is None
        assert store.get_request("req-1").state is RequestState.CANCELLED

    def test_a_model_that_a_device_serves_cannot_be_removed(self, store: Store) -> None:
        with_model(store)
        serving = make_deployment(state=DeploymentState.COMMITTED, started_at_ns=NOW_NS)
        store.add_rollout(make_rollout(), [serving])
        with pytest.raises(ConflictError):
            store.remove_model("digits")
        store.put_deployment(replace(serving, state=DeploymentState.ROLLED_BACK))
        store.remove_model("digits")
        with pytest.raises(NotFoundError):
            store.get_model("digits")

    def test_a_policy_is_replaced_and_forgotten(self, store: Store) -> None:
        assert store.get_policy("digits") is None
        store.put_policy(ModelPolicy("digits", "objective: size", NOW_NS))
        store.put_policy(ModelPolicy("digits", "objective: latency", NOW_NS + 1))
        assert store.list_policies() == (ModelPolicy("digits", "objective: latency", NOW_NS + 1),)
        store.remove_policy("digits")
        store.remove_policy("digits")
        assert store.get_policy("digits") is None


class TestDesired:
    def test_pushes_are_replaced_per_model_version(self, store: Store) -> None:
        with_model(store)
        store.add_model(make_model(version=2), make_variant(version=2))
        store.put_push(Push("pi-1", "digits", 2, ("digits.v2.fp32",)))
        store.put_push(Push("pi-1", "digits", 1, ("digits.v1.fp32",)))
        store.put_push(Push("pi-1", "digits", 1, ("digits.v1.fp32", "digits.v1.int8")))
        assert [(push.model_version, len(push.variant_ids)) for push in store.list_pushes("pi-1")] == [(1, 2), (2, 1)]
        assert store.list_pushes("pi-2") == ()
        store.remove_push("pi-1", "digits")
        assert store.list_pushes("pi-1") == ()

    def test_a_push_to_nobody_or_of_nothing_is_not_found(self, store: Store) -> None:
        with_model(store)
        with pytest.raises(NotFoundError):
            store.put_push(Push("no", "digits", 1, ()))
        with pytest.raises(NotFoundError):
            store.put_push(Push("pi-1", "no", 1, ()))

    def test_the_desired_version_moves_by_compare_and_set(self, store: Store) -> None:
        store.put_device(make_device())
        row = DesiredRow("pi-1", 1, 1, sha256_of("a"), SignedEnvelope("t", b"\x00\xff"))
        assert store.desired("pi-1") is None
        store.compare_and_set_desired(row, 0)
        with pytest.raises(ConflictError):
            store.compare_and_set_desired(replace(row, version=2), 0)
        store.compare_and_set_desired(replace(row, version=2), 1)
        with pytest.raises(ConflictError):
            store.compare_and_set_desired(replace(row, version=9), 1)
        assert store.desired("pi-1") == replace(row, version=2)

    def test_the_desired_state_of_an_unknown_device_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            store.compare_and_set_desired(DesiredRow("no", 1, 1, "", SignedEnvelope()), 0)

    def test_of_ten_threads_with_the_same_version_one_wins(self, store: Store) -> None:
        store.put_device(make_device())
        row = DesiredRow("pi-1", 1, 1, sha256_of("a"), SignedEnvelope("t", b""))
        outcomes = in_threads(10, lambda _: store.compare_and_set_desired(row, 0))
        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 9


class TestBenchmarks:
    def test_a_run_comes_back_with_its_requests(self, store: Store) -> None:
        with_model(store)
        requests = [make_request("req-2", device_id="pi-2"), make_request("req-1")]
        store.add_run(make_run(device_ids=("pi-1", "pi-2")), requests)
        assert store.get_run("run-1") == make_run(device_ids=("pi-1", "pi-2"))
        assert store.list_runs().items == (make_run(device_ids=("pi-1", "pi-2")),)
        assert store.list_requests("run-1") == (make_request("req-1"), make_request("req-2", device_id="pi-2"))
        assert store.list_requests(device_id="pi-2") == (make_request("req-2", device_id="pi-2"),)
        assert store.list_requests(state=RequestState.DONE) == ()
        with pytest.raises(ConflictError):
            store.add_run(make_run("run-2"), [make_request("req-1", "run-2")])
        with pytest.raises(NotFoundError):
            store.get_run("run-2")

    def test_a_retry_opens_the_request_with_the_next_attempt(self, store: Store) -> None:
        with_run(store)
        store.put_request_state("req-1", 1, RequestState.FAILED, "it crashed")
        assert store.get_request("req-1").reason == "it crashed"
        store.retry_request("req-1", 1)
        with pytest.raises(ConflictError):
            store.retry_request("req-1", 1)
        with pytest.raises(NotFoundError):
            store.put_request_state("req-1", 1, RequestState.DONE, "")
        found = store.get_request("req-1")
        assert (found.request.attempt, found.state, found.reason) == (2, RequestState.OPEN, "")

    def test_unknown_runs_requests_loads_and_records_are_not_found(self, store: Store) -> None:
        for call in (
            lambda: store.get_run("no"),
            lambda: store.get_request("no"),
            lambda: store.retry_request("no", 1),
            lambda: store.get_load("no"),
            lambda: store.get_record("no"),
        ):
            with pytest.raises(NotFoundError):
                call()


class TestReports:
    def test_a_record_is_stored_once_and_closes_its_request(self, store: Store) -> None:
        with_run(store)
        record = make_record(make_variant(), accuracy=make_accuracy())
        report = make_stored_report(record)
        assert store.store_reports([report]) == (report,)
        assert store.store_reports([report, report]) == ()
        assert store.list_records().items == (record,)
        assert store.get_record(record.record_id) == record
        assert store.get_request("req-1").state is RequestState.DONE
        assert store.list_reports().items == (report,)

    def test_a_batch_keeps_its_order_and_drops_its_duplicates(self, store: Store) -> None:
        first, second = (make_stored_report(Event(f"e{n}", "rung.changed"), sequence=n) for n in (2, 1))
        assert store.store_reports([first, second, first]) == (first, second)
        assert [event.event_id for event in store.list_events()] == ["e2", "e1"]
        assert store.store_reports([]) == ()

    def test_records_are_found_by_model_device_and_run(self, store: Store) -> None:
        with_run(store)
        variant = make_variant()
        mine = make_record(variant)
        others = make_record(variant, record_id="other", request_id="unasked", device_id="pi-2")
        store.store_reports([make_stored_report(mine), make_stored_report(others, device_id="pi-2")])
        assert store.list_records(run_id="run-1").items == (mine,)
        assert store.list_records(device_id="pi-2").items == (others,)
        assert len(store.list_records("digits", 1).items) == 2
        assert store.list_records("digits", 2).items == ()
        assert len(pages(lambda cursor: store.list_records(cursor=cursor, limit=1))) == 2

    def test_an_invalid_record_is_kept_and_its_request_has_failed(self, store: Store) -> None:
        with_run(store)
        record = replace(make_record(make_variant(), state=RecordState.INVALID), latency=None, reasons=("it crashed",))
        store.store_reports([make_stored_report(record)])
        assert store.get_record(record.record_id) == record
        request = store.get_request("req-1")
        assert (request.state, request.reason) == (RequestState.FAILED, "it crashed")

    def test_a_quarantined_report_is_kept_and_yields_no_record(self, store: Store) -> None:
        with_run(store)
        report = make_stored_report(make_record(make_variant()), rejected_reason="p50 above p99")
        assert store.store_reports([report]) == (report,)
        assert store.list_records().items == ()
        assert store.list_reports(is_rejected=True).items == (report,)
        assert store.list_reports(is_rejected=False).items == ()
        request = store.get_request("req-1")
        assert (request.state, request.reason) == (RequestState.FAILED, "report rejected: p50 above p99")

    def test_forgotten_reports_free_their_numbers_and_what_they_yielded_stays(self, store: Store) -> None:
        store.put_device(make_device("pi-2"))
        first = make_stored_report(Event("e1", "x"))
        other = make_stored_report(Event("e2", "x"), device_id="pi-2")
        store.store_reports([first, other])
        store.forget_reports("pi-1")
        assert store.list_reports().items == (other,)
        again = make_stored_report(Event("e3", "x"))
        assert store.store_reports([again, other]) == (again,)
        assert [event.event_id for event in store.list_events()] == ["e1", "e2", "e3"]

    def test_bytes_that_do_not_parse_are_quarantined_and_the_batch_goes_on(self, store: Store) -> None:
        with_run(store)
        good = make_stored_report(make_record(make_variant()))
        bad = replace(good, sequence=2, payload=b"\xff\xff not a report")
        stored = store.store_reports([bad, good])
        assert [bool(report.rejected_reason) for report in stored] == [True, False]
        assert len(store.list_records().items) == 1

    def test_a_body_that_contradicts_its_key_is_quarantined(self, store: Store) -> None:
        with_run(store)
        record = make_record(make_variant())
        reports = [
            replace(make_stored_report(record), request_id="req-2"),
            replace(make_stored_report(LoadResult("load-1", 1)), attempt=2, sequence=2),
            make_stored_report(replace(record, record_id=""), sequence=3),
            replace(make_stored_report(Event("e", "x")), payload=b"", sequence=4),
        ]
        assert all(report.rejected_reason for report in store.store_reports(reports))
        assert len(store.list_reports(is_rejected=True).items) == 4
        assert store.list_records().items == ()
        assert store.list_events() == ()

    def test_a_device_cannot_close_anothers_request_or_take_its_record_id(self, store: Store) -> None:
        with_run(store)
        mine = make_record(make_variant())
        liar = make_stored_report(mine, device_id="pi-2", sequence=5)
        store.store_reports([liar])
        assert store.get_request("req-1").state is RequestState.OPEN
        stored = store.store_reports([make_stored_report(mine, sequence=6)])
        assert "taken" in stored[0].rejected_reason
        assert len(store.list_records().items) == 1

    def test_a_late_report_of_an_older_attempt_leaves_the_request_open(self, store: Store) -> None:
        with_run(store)
        store.retry_request("req-1", 1)
        store.store_reports([make_stored_report(make_record(make_variant(), attempt=1))])
        assert store.get_request("req-1").state is RequestState.OPEN
        store.store_reports([make_stored_report(make_record(make_variant(), attempt=2), sequence=2)])
        assert store.get_request("req-1").state is RequestState.DONE

    def test_a_cancelled_request_stays_cancelled(self, store: Store) -> None:
        with_run(store)
        store.put_request_state("req-1", 1, RequestState.CANCELLED, "by a person")
        store.store_reports([make_stored_report(make_record(make_variant()))])
        assert store.get_request("req-1").state is RequestState.CANCELLED
        assert len(store.list_records().items) == 1

    def test_a_load_result_closes_its_load(self, store: Store) -> None:
        request = LoadRequest("load-1", 1, "digits")
        store.put_load(DeviceLoad("load-1", "pi-1", request, NOW_NS))
        result = LoadResult("load-1", 1, "digits", 1, 2, offered=10, answered=10, answered_by={"digits.v1.fp32": 10})
        store.store_reports([make_stored_report(result)])
        found = store.get_load("load-1")
        assert (found.state, found.result) == (RequestState.DONE, result)
        assert store.list_loads("pi-1", RequestState.DONE) == (found,)
        assert store.list_loads("pi-1", RequestState.OPEN) == ()

    def test_a_load_that_ended_early_has_failed_with_the_reason(self, store: Store) -> None:
        store.put_load(DeviceLoad("load-1", "pi-1", LoadRequest("load-1", 1), NOW_NS))
        store.store_reports([make_stored_report(LoadResult("load-1", 1, reason="nothing serves"))])
        assert (store.get_load("load-1").state, store.get_load("load-1").reason) == (
            RequestState.FAILED,
            "nothing serves",
        )

    def test_reports_are_listed_in_pages_as_they_arrived(self, store: Store) -> None:
        reports = [make_stored_report(Event(f"e{n}", "x"), sequence=n) for n in (5, 1, 3)]
        store.store_reports(reports)
        assert pages(lambda cursor: store.list_reports("pi-1", cursor=cursor, limit=2)) == reports
        with pytest.raises(InvalidInputError):
            store.list_reports(cursor="x")

    def test_two_threads_with_the_same_reports_store_each_exactly_once(self, store: Store) -> None:
        with_run(store)
        reports = [make_stored_report(Event(f"e{n}", "x"), sequence=n) for n in range(100)]
        outcomes = in_threads(4, lambda number: [store.store_reports([report]) for report in spun(reports, number)])
        assert sum(len(new) for outcome in outcomes if isinstance(outcome, list) for new in outcome) == 100
        assert sorted(event.event_id for event in store.list_events()) == sorted(f"e{n}" for n in range(100))


class TestDecisionsAndRollouts:
    def test_a_decision_comes_back_as_it_was_made_and_the_newest_comes_first(self, store: Store) -> None:
        decisions = [make_decision(f"dec-{name}", device) for name, device in (("b", "x"), ("a", "y"), ("c", "x"))]
        for decision in decisions:
            store.add_decision(decision)
        assert store.get_decision("dec-a") == decisions[1]
        assert store.list_decisions().items == tuple(reversed(decisions))
        assert store.list_decisions("digits", "x").items == (decisions[2], decisions[0])
        assert pages(lambda cursor: store.list_decisions(cursor=cursor, limit=2)) == decisions[::-1]
        with pytest.raises(ConflictError):
            store.add_decision(decisions[0])
        with pytest.raises(NotFoundError):
            store.get_decision("dec-z")

    def test_a_rollout_moves_only_from_the_state_that_was_seen(self, store: Store) -> None:
        rollout, deployment = make_rollout(), make_deployment()
        store.add_rollout(rollout, [deployment])
        paused = replace(rollout, state=RolloutState.PAUSED, active_wave=0, reason="a person")
        store.put_rollout(paused, "running")
        with pytest.raises(ConflictError):
            store.put_rollout(rollout, "running")
        assert store.get_rollout("roll-1") == paused
        assert store.list_rollouts().items == (paused,)
        with pytest.raises(NotFoundError):
            store.put_rollout(replace(rollout, rollout_id="no"), "running")

    def test_a_rollout_and_its_deployments_move_together_or_not_at_all(self, store: Store) -> None:
        rollout, first, second = make_rollout(), make_deployment("dep-1"), make_deployment("dep-2", "pi-2")
        store.add_rollout(rollout, [first, second])
        moved = [replace(item, state=DeploymentState.ROLLED_BACK, reason="a person") for item in (first, second)]
        aborted = replace(rollout, state=RolloutState.ABORTED, reason="a person")
        with pytest.raises(ConflictError):
            store.put_rollout(aborted, "paused", moved)
        with pytest.raises(NotFoundError):
            store.put_rollout(aborted, "running", [moved[0], replace(moved[1], deployment_id="dep-9")])
        assert (store.get_rollout("roll-1"), store.list_deployments("roll-1")) == (rollout, (first, second))
        store.put_rollout(aborted, "running", moved)
        assert (store.get_rollout("roll-1"), store.list_deployments("roll-1")) == (aborted, tuple(moved))
        late = make_deployment("dep-3", "pi-3")
        store.put_rollout(aborted, "aborted", (), [late])
        assert store.list_deployments("roll-1") == (*moved, late)
        with pytest.raises(ConflictError):
            store.put_rollout(rollout, "aborted", (), [late])
        assert store.get_rollout("roll-1") == aborted

    def test_deployments_are_listed_by_rollout_and_device(self, store: Store) -> None:
        deployments = [make_deployment("dep-2", "pi-2"), make_deployment("dep-1", "pi-1")]
        store.add_rollout(make_rollout(), deployments)
        moved = replace(deployments[1], state=DeploymentState.ACTIVATED, started_at_ns=NOW_NS, reason="ü")
        store.put_deployment(moved)
        assert store.get_deployment("dep-1") == moved
        assert store.list_deployments("roll-1") == (moved, deployments[0])
        assert store.list_deployments(device_id="pi-2") == (deployments[0],)
        with pytest.raises(NotFoundError):
            store.put_deployment(make_deployment("dep-9"))
        with pytest.raises(NotFoundError):
            store.get_deployment("dep-9")


class TestFeeds:
    def test_operations_are_replaced_by_id(self, store: Store) -> None:
        operation = Operation("op-1", "compress", "digits:1", OperationState.RUNNING, 0.25, "int8", "", NOW_NS)
        store.put_operation(operation)
        store.put_operation(replace(operation, state=OperationState.SUCCEEDED, progress_ratio=1.0))
        assert store.get_operation("op-1").state is OperationState.SUCCEEDED
        assert len(store.list_operations().items) == 1
        with pytest.raises(NotFoundError):
            store.get_operation("op-2")

    def test_events_get_rising_sequences_and_are_read_after_one(self, store: Store) -> None:
        event = FleetEvent("e", "rung.changed", NOW_NS, "pi-1", duration_ms=1.5, details={"load": "90 %"})
        first, second = store.add_event(event), store.add_event(replace(event, kind="device.joined", device_id=""))
        assert first == replace(event, sequence=first.sequence)
        assert second.sequence > first.sequence
        assert store.list_events(first.sequence) == (second,)
        assert store.list_events(device_id="pi-1") == (first,)
        assert store.list_events(kind="device.joined") == (second,)
        assert store.list_events(limit=1) == (first,)

    def test_the_newest_events_come_in_the_order_in_which_they_happened(self, store: Store) -> None:
        events = [store.add_event(FleetEvent(f"e{n}", "a" if n % 2 else "b", n, f"pi-{n}")) for n in range(1, 6)]
        assert store.newest_events(limit=2) == tuple(events[-2:])
        assert store.newest_events(kind="a", limit=2) == (events[2], events[4])
        assert store.newest_events(device_id="pi-1") == (events[0],)

    def test_events_are_pruned_by_their_arrival_whatever_a_device_s_clock_says(self, store: Store) -> None:
        for n, (kind, at_ns) in enumerate(
            [
                ("device.online", 10),
                ("benchmark.finished", 11),
                ("rung.changed", 10**18),  # years ahead
                ("device.offline", 12),
                ("rung.changed", 1),
                ("device.online", 20),
                ("rung.changed", 1),  # 1970
            ]
        ):
            store.add_event(FleetEvent(f"e{n}", kind, at_ns, "" if kind.startswith("benchmark") else "pi-1"))
        before = store.list_events()
        assert store.prune_events(20, 1000, 1000) == 4
        left = store.list_events()
        assert left == (before[1], *before[5:])
        assert store.list_events(before[2].sequence) == before[5:]  # a reader whose cursor is gone goes on behind it
        assert store.prune_events(10**17, 1000, 1000) == 0  # no event of the controller is as young
        assert store.prune_events(20, 1000, 1000) == 0
        assert store.add_event(replace(before[0], event_id="new")).sequence == before[-1].sequence + 1

    def test_events_are_pruned_by_their_count_in_all_and_of_a_device(self, store: Store) -> None:
        for n in range(1, 7):
            store.add_event(FleetEvent(f"a{n}", "rung.changed", n, "pi-1"))
        for n in range(1, 4):
            store.add_event(FleetEvent(f"b{n}", "rung.changed", n, "pi-2"))
            store.add_event(FleetEvent(f"c{n}", "device.online", 0, ""))
        assert store.prune_events(1, 1000, 4) == 2
        assert [event.event_id for event in store.list_events(device_id="pi-1")] == ["a3", "a4", "a5", "a6"]
        assert store.prune_events(1, 5, 4) == 5
        assert [event.event_id for event in store.list_events()] == ["c1", "b2", "c2", "b3", "c3"]
        assert store.prune_events(1, 1, 1) == 4
        last = store.list_events()[-1]
        assert last.event_id == "c3"
        assert store.add_event(last).sequence == last.sequence + 1

    def test_rejected_reports_are_pruned_by_their_arrival(self, store: Store) -> None:
        old = make_stored_report(Event("e1", "x"), rejected_reason="no")
        store.store_reports([old, replace(old, sequence=2, received_at_ns=NOW_NS + 5)])
        store.store_reports([make_stored_report(Event("e3", "x"), sequence=3)])
        assert store.prune_rejected_reports(NOW_NS + 5) == 1
        assert [report.sequence for report in store.list_reports().items] == [2, 3]

    def test_telemetry_is_read_newest_within_the_limit_and_pruned(self, store: Store) -> None:
        samples = [Telemetry(at_ns=n, model_id="digits" if n % 2 else "", p95_ns=n) for n in range(1, 7)]
        store.add_telemetry("pi-1", samples)
        store.add_telemetry("pi-2", samples[:1])
        store.add_telemetry("pi-2", [])
        assert store.list_telemetry("pi-1", 3) == tuple(samples[2:])
        assert store.list_telemetry("pi-1", 0, limit=2) == tuple(samples[-2:])
        assert store.list_telemetry("pi-1", 0, "digits") == (samples[0], samples[2], samples[4])
        assert store.prune_telemetry(4) == 4
        assert store.list_telemetry("pi-1", 0) == tuple(samples[3:])


def make_decision(decision_id: str, device_id: str) -> Decision:
    chosen = make_configuration()
    candidate = Candidate(
        configuration=chosen,
        record_id="rec-1",
        quality=0.98,
        quality_kind="accuracy",
        p50_ms=8.0,
        p95_ms=10.0,
        p95_upper_ms=10.2,
        peak_memory_mib=20.0,
        energy_mj=None,
        size_mib=4.0,
        is_feasible=True,
        verdict="chosen",
        accuracy=make_accuracy(),
        notes=("noisy: a fan",),
    )
    return Decision(
        decision_id=decision_id,
        device_id=device_id,
        model_id="digits",
        model_version=1,
        policy_yaml="objective: accuracy",
        created_at_ns=NOW_NS,
        chosen=chosen,
        ladder=(chosen, make_configuration("digits.v1.int8")),
        candidates=(candidate, replace(candidate, verdict="too slow", accuracy=None, is_feasible=False)),
        slo=Slo(40_000_000, 95.0),
        is_emulated=True,
    )


def pages(read: Callable[[str], Page[object]]) -> list[object]:
    """Every item of a paged list."""
    seen: list[object] = []
    cursor = ""
    while True:
        page = read(cursor)
        seen += page.items
        cursor = page.next_cursor
        if not cursor:
            return seen


def spun(items: list[object], number: int) -> list[object]:
    """The same items, begun elsewhere."""
    start = number * len(items) // 4
    return items[start:] + items[:start]


def in_threads(count: int, call: Callable[[int], object]) -> list[object]:
    """What ``call`` returned or raised in each of ``count`` threads that start together."""
    barrier = threading.Barrier(count)
    outcomes: list[object] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            outcomes[number] = call(number)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
