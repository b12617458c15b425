"""The StateStore port: durable after every call, exactly-once queue, and it survives its own damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from muster_agent.adapters.state_sqlite import REJECTIONS_KEPT, SqliteState
from muster_agent.core.known import Conclusion, Run, ServingRecord
from muster_agent.core.wanted import read_model
from muster_agent.testing import sign_desired, sign_manifest
from muster_protos.errors import TemporaryError
from muster_protos.model import (
    ArtifactRef,
    BenchmarkPhase,
    BenchmarkRecord,
    DeploymentState,
    DesiredModel,
    DesiredState,
    Event,
    LoadResult,
    ServingGrant,
    VariantManifest,
)

SHA = "ab" * 32


@pytest.fixture
def reopen(tmp_path) -> Iterator[Callable[[], SqliteState]]:
    """A store on one file; each call closes the last one and opens the file anew."""
    opened: list[SqliteState] = []

    def open_again() -> SqliteState:
        for store in opened:
            store.close()
        opened.append(SqliteState(tmp_path / "agent.sqlite3"))
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


def wanted_model(deployment_id="d1"):
    manifest = VariantManifest(variant_id="m.v1.a", model_id="m", artifact=ArtifactRef(SHA, 3))
    return read_model(DesiredModel("m", 1, (sign_manifest(manifest),), ServingGrant(deployment_id)))


class TestStateStore:
    def test_an_empty_store_knows_nothing(self, reopen):
        store = reopen()
        assert (store.desired(), store.serving(), store.bad(), store.runs("benchmark")) == (None, {}, {}, ())
        assert store.reports(0, 10) == ()

    def test_the_desired_envelope_comes_back_as_it_was(self, reopen):
        envelope = sign_desired(DesiredState("lab", "pi", 1, 7))
        reopen().put_desired(envelope)
        assert reopen().desired() == envelope

    def test_a_serving_record_comes_back_with_its_signed_manifests(self, reopen):
        record = ServingRecord(
            "m",
            trial=wanted_model("d2"),
            is_trial_active=True,
            trial_starts=2,
            last_good=wanted_model("d1"),
            conclusions=(Conclusion(ServingGrant("d0"), DeploymentState.FAILED, "no \u2603"),),
            tested=("d2 x",),
            http_port=1,
            grpc_port=2,
        )
        reopen().put_serving(record)
        assert reopen().serving() == {"m": record}
        reopen().drop_serving("m")
        assert reopen().serving() == {}

    def test_bad_marks_live_as_long_as_their_artifact(self, reopen):
        store = reopen()
        store.mark_bad(f"{SHA} onnxruntime/cpu", "wrong")
        store.mark_bad(f"{'cd' * 32} onnxruntime/cpu", "wrong too")
        store.clear_bad([SHA])
        assert store.bad() == {f"{'cd' * 32} onnxruntime/cpu": "wrong too"}

    def test_a_finished_run_and_its_report_are_stored_together(self, reopen):
        run = Run("b1", 2, BenchmarkPhase.FINISHED, 1)
        reopen().put_run("benchmark", run, BenchmarkRecord(request_id="b1", attempt=2))
        store = reopen()
        assert store.runs("benchmark") == (run,)
        (report,) = store.reports(0, 10)
        assert (report.request_id, report.attempt, report.body.sequence) == ("b1", 2, report.sequence)

    def test_benchmarks_and_loads_are_kept_apart(self, reopen):
        store = reopen()
        store.put_run("benchmark", Run("x", 0, BenchmarkPhase.RUNNING))
        store.put_run("load", Run("x", 0, BenchmarkPhase.FINISHED), LoadResult(request_id="x"))
        store.drop_runs("load", [("x", 0)])
        assert [run.phase for run in store.runs("benchmark")] == [BenchmarkPhase.RUNNING]
        assert store.runs("load") == ()

    def test_reports_come_in_order_and_leave_by_their_whole_key_only(self, reopen):
        store = reopen()
        store.queue_events([Event(event_id=str(number), kind="x") for number in range(3)])
        first, second, third = store.reports(0, 10)
        assert first.sequence < second.sequence < third.sequence
        assert not store.acknowledge("events", 1, second.sequence, "")
        assert not store.acknowledge("other", 0, second.sequence, "")
        assert store.acknowledge("events", 0, second.sequence, "")
        assert not store.acknowledge("events", 0, second.sequence, "")
        assert reopen().reports(0, 10) == (first, third)

    def test_sequence_numbers_are_never_used_twice(self, reopen):
        store = reopen()
        store.queue_events([Event(kind="a")])
        (first,) = store.reports(0, 1)
        store.acknowledge("events", 0, first.sequence, "")
        store = reopen()
        store.queue_events([Event(kind="b")])
        (second,) = store.reports(0, 1)
        assert second.sequence > first.sequence

    def test_rejections_are_kept_for_people_and_bounded(self, reopen):
        store = reopen()
        store.queue_events([Event(kind="a")] * (REJECTIONS_KEPT + 5))
        for report in store.reports(0, 5000):
            store.acknowledge("events", 0, report.sequence, "p50 of 0 ns")
        assert len(store.rejections()) == REJECTIONS_KEPT
        assert store.rejections()[-1][3] == "p50 of 0 ns"

    def test_reports_can_be_read_in_pages(self, reopen):
        store = reopen()
        store.queue_events([Event(kind=str(number)) for number in range(5)])
        page = store.reports(0, 2)
        assert [report.body.kind for report in store.reports(page[-1].sequence, 2)] == ["2", "3"]


class TestSqlite:
    def test_every_commit_is_synced(self, reopen):
        store = reopen()
        assert store._database._connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert store._database._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"

    def test_the_file_is_private(self, reopen, tmp_path):
        reopen()
        assert (tmp_path / "agent.sqlite3").stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"SQLite format 3\0" + b"x" * 5000, b"hello"])
    def test_damage_is_put_aside_and_numbers_do_not_repeat(self, tmp_path, content):
        path = tmp_path / "agent.sqlite3"
        path.write_bytes(content)
        store = SqliteState(path)
        store.queue_events([Event(kind="a")])
        assert store.reports(0, 1)[0].sequence > 1 << 44
        store.close()

    def test_torn_pages_are_found(self, tmp_path):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.queue_events([Event(kind="a", reason="x" * 500)] * 200)
        store.close()
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        content = bytearray(path.read_bytes())
        content[8192:16384] = bytes(8192)
        path.write_bytes(content)
        store = SqliteState(path)
        store.queue_events([Event(kind="b")])
        store.close()
        assert (tmp_path / "agent.sqlite3.damaged").exists()

    def test_a_failing_database_is_a_temporary_error(self, reopen):
        store = reopen()
        store.close()
        with pytest.raises(TemporaryError, match="state database"):
            store.queue_events([Event()])

    def test_an_unreadable_serving_record_does_not_hide_the_others(self, reopen):
        store = reopen()
        store.put_serving(ServingRecord("good", last_good=None))
        store.put_serving(ServingRecord("torn"))
        store._database._connection.execute("UPDATE serving SET trial = x'ffff' WHERE model_id = 'torn'")
        assert set(store.serving()) == {"good"}

    def test_a_record_without_anything_round_trips(self, reopen):
        store = reopen()
        record = replace(ServingRecord("m"), http_port=9)
        store.put_serving(record)
        assert store.serving()["m"] == record
