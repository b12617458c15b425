"""What the stores keep of identities over time, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_controller.core.entities import JoinToken
from muster_controller.core.unfold import TAKEN
from muster_controller.ports import Store
from muster_controller.testing_values import NOW_NS, make_device, make_model, make_stored_report, make_variant
from muster_protos.errors import NotFoundError
from muster_protos.model import BenchmarkRecord, Event, SignedEnvelope


class TestStoredIdentity:
    def test_a_renewal_changes_the_serial_and_nothing_that_happened_meanwhile(self, store: Store) -> None:
        store.put_device(make_device())
        store.revoke_device("pi-1")
        store.put_certificate("pi-1", "abc")
        assert store.get_device("pi-1") == replace(make_device(), is_revoked=True, certificate_serial="abc")

    def test_clock_and_clone_are_kept_until_they_change(self, store: Store) -> None:
        store.put_device(make_device())
        store.put_clock_offset("pi-1", -(2**62))
        store.put_cloned("pi-1", NOW_NS)
        found = store.get_device("pi-1")
        assert (found.clock_offset_ns, found.cloned_at_ns) == (-(2**62), NOW_NS)
        store.put_device(replace(found, cloned_at_ns=0))
        assert store.get_device("pi-1").cloned_at_ns == 0

    @pytest.mark.parametrize("change", ["put_certificate", "put_clock_offset", "put_cloned"])
    def test_an_unknown_device_is_refused(self, store: Store, change: str) -> None:
        with pytest.raises(NotFoundError):
            getattr(store, change)("nobody", "1" if change == "put_certificate" else 1)

    def test_expired_tokens_are_pruned_whether_used_or_not(self, store: Store) -> None:
        for name, ends_ns, uses in (("old", 10, 0), ("unused", 11, 1), ("young", 12, 0)):
            store.add_token(JoinToken(name, f"sha of {name}", 1, ends_ns, uses))
        assert store.prune_tokens(12) == 2
        assert [token.token_id for token in store.list_tokens()] == ["young"]

    def test_a_manifest_signed_again_is_the_same_variant(self, store: Store) -> None:
        variant = make_variant("fp32")
        store.add_model(make_model(), variant)
        again = SignedEnvelope("t", b"p", ())
        store.put_variant_envelope(variant.manifest.variant_id, again)
        assert store.get_variant(variant.manifest.variant_id) == replace(variant, envelope=again)
        with pytest.raises(NotFoundError):
            store.put_variant_envelope("nothing", again)

    def test_a_later_verdict_replaces_the_one_before(self, store: Store) -> None:
        variant = make_variant("fp32")
        store.add_model(make_model(), variant)
        for is_kept, reason in ((False, "under the floor"), (True, "")):
            store.put_variant_verdict(variant.manifest.variant_id, is_kept, reason)
            found = store.get_variant(variant.manifest.variant_id)
            assert found == replace(variant, is_kept=is_kept, dropped_reason=reason)
        with pytest.raises(NotFoundError):
            store.put_variant_verdict("nothing", True, "")


class TestArrival:
    def test_records_come_in_the_order_of_arrival_whatever_the_devices_clock_said(self, store: Store) -> None:
        store.put_device(make_device())
        times = {"m": 5, "a": -(2**62), "z": 2**62, "b": 0}
        for number, (record_id, finished_at_ns) in enumerate(times.items()):
            record = BenchmarkRecord(record_id=record_id, request_id="r", attempt=1, finished_at_ns=finished_at_ns)
            store.store_reports([make_stored_report(record, sequence=number)])
        assert [record.record_id for record in store.list_records().items] == list(times)
        first = store.list_records(limit=2)
        rest = store.list_records(cursor=first.next_cursor, limit=2)
        assert [record.record_id for page in (first, rest) for record in page.items] == list(times)

    def test_records_of_one_batch_keep_their_order(self, store: Store) -> None:
        store.put_device(make_device())
        records = [BenchmarkRecord(record_id=name, request_id="r", attempt=1) for name in ("c", "a", "b")]
        reports = [make_stored_report(record, sequence=number) for number, record in enumerate(records)]
        store.store_reports(reports)
        assert [record.record_id for record in store.list_records().items] == ["c", "a", "b"]

    def test_another_report_under_a_taken_number_is_refused_and_the_same_one_is_known(self, store: Store) -> None:
        store.put_device(make_device())
        mine, theirs = (make_stored_report(Event(event_id=name, kind="x.y"), sequence=7) for name in ("a", "b"))
        assert store.store_reports([mine]) == (mine,)
        assert store.store_reports([mine]) == ()
        assert store.store_reports([theirs, theirs]) == (replace(theirs, rejected_reason=TAKEN),) * 2
        assert store.list_reports().items == (mine,)
        assert [event.event_id for event in store.list_events()] == ["a"]
