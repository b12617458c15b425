"""The StateStore port: durable after every call, exactly-once queue, and it survives its own damage."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from muster_agent.adapters.state_sqlite import REJECTIONS_KEPT, SqliteState
from muster_agent.adapters.state_sqlite import database as database_module
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


def tables(path, *statements):
    """A sound database of somebody else's making."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


class TestRebuild:
    def test_a_truncated_database_is_rebuilt_and_says_what_is_lost(self, tmp_path):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.put_desired(sign_desired(DesiredState("lab", "pi", 1, 7)))
        store.put_serving(ServingRecord("m", last_good=wanted_model("d1")))
        store.queue_events([Event(kind="a", reason="x" * 900)] * 100)
        store.close()
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        store = SqliteState(path)
        assert store.desired() == sign_desired(DesiredState("lab", "pi", 1, 7))
        assert store.serving()["m"].last_good.deployment_id == "d1"
        loss = store.take_loss()
        assert "agent.sqlite3.damaged" in loss
        assert "lost: what else waited to be reported" in loss
        assert store.take_loss() == ""
        store.close()
        assert (tmp_path / "agent.sqlite3.damaged").exists()

    def test_the_first_releases_schema_is_brought_up_with_everything_in_it(self, tmp_path):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.put_serving(ServingRecord("m", last_good=wanted_model("d1")))
        store.queue_events([Event(kind="a")])
        (report,) = store.reports(0, 10)
        store.close()
        columns = ("before_good", "testing", "test_starts")
        tables(path, *(f"ALTER TABLE serving DROP COLUMN {name}" for name in columns), "PRAGMA user_version = 0")
        store = SqliteState(path)
        assert store.serving() == {"m": ServingRecord("m", last_good=wanted_model("d1"))}
        assert store.reports(0, 10) == (report,)
        assert store.take_loss() == ""
        store.close()

    @pytest.mark.parametrize("statement", ["PRAGMA user_version = 99", "ALTER TABLE serving ADD COLUMN more TEXT"])
    def test_a_database_of_another_version_is_set_aside_and_its_reports_are_kept(self, tmp_path, statement):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.put_desired(sign_desired(DesiredState("lab", "pi", 1, 7)))
        store.queue_events([Event(kind="a"), Event(kind="b")])
        waiting = store.reports(0, 10)
        store.close()
        tables(path, statement)
        store = SqliteState(path)
        assert store.reports(0, 10) == waiting
        assert "2 waiting reports" in store.take_loss()
        store.queue_events([Event(kind="c")])
        assert len({report.sequence for report in store.reports(0, 10)}) == 3
        store.close()

    def test_another_programs_database_is_set_aside(self, tmp_path):
        path = tmp_path / "agent.sqlite3"
        tables(path, "CREATE TABLE reports (song TEXT)", "INSERT INTO reports VALUES ('la')")
        store = SqliteState(path)
        assert store.reports(0, 10) == ()
        assert "0 waiting reports" in store.take_loss()
        store.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "agent.sqlite3.damaged")) as aside:
            assert aside.execute("SELECT song FROM reports").fetchall() == [("la",)]

    def test_damage_while_the_agent_runs_is_rebuilt_at_once(self, tmp_path):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.put_desired(sign_desired(DesiredState("lab", "pi", 1, 7)))
        store.queue_events([Event(kind="a", reason="x" * 900)] * 300)
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
        with pytest.raises(TemporaryError, match="rebuilt"):
            store.queue_events([Event(kind="b", reason="y" * 900)] * 2000)
        store.queue_events([Event(kind="c")])
        assert store.desired() == sign_desired(DesiredState("lab", "pi", 1, 7))
        assert "damaged" in store.take_loss()
        store.close()

    def test_damage_in_the_middle_of_a_rebuild_ends_it_and_the_copies_are_read_from_memory(self, tmp_path, monkeypatch):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.put_desired(sign_desired(DesiredState("lab", "pi", 1, 7)))
        store.put_serving(ServingRecord("m", last_good=wanted_model("d1")))
        store.close()
        path.write_bytes(b"zeros" * 1000)
        made = []

        def open_spoilt(path):
            made.append(path)
            database = real_open(path)
            database.execute("DROP TABLE serving")  # a disk that does not give back what it was given
            return database

        real_open = database_module._open
        monkeypatch.setattr(database_module, "_open", open_spoilt)
        monkeypatch.setattr(database_module, "open_reader", lambda _: sqlite3.connect(tmp_path / "nothing.sqlite3"))
        store = SqliteState(path)
        assert len(made) < 4
        assert "cannot be written" in store.problem
        assert store.serving()["m"].last_good.deployment_id == "d1"
        assert store.desired() == sign_desired(DesiredState("lab", "pi", 1, 7))
        with pytest.raises(TemporaryError, match="cannot be written"):
            store.queue_events([Event(kind="a")])
        store.close()

    def test_a_disk_that_spoils_one_database_after_the_other_is_left_alone_after_three(self, tmp_path):
        path = tmp_path / "agent.sqlite3"
        store = SqliteState(path)
        store.put_serving(ServingRecord("m", last_good=wanted_model("d1")))
        for _ in range(3):
            store._database._connection.execute("DROP TABLE reports")
            with pytest.raises(TemporaryError, match="rebuilt"):
                store.queue_events([Event(kind="a")])
        store._database._connection.execute("DROP TABLE reports")
        with pytest.raises(TemporaryError, match="cannot be mended just now"):
            store.queue_events([Event(kind="a")])
        assert store.serving()["m"].last_good.deployment_id == "d1"
        with pytest.raises(TemporaryError, match="cannot be written"):
            store.queue_events([Event(kind="a")])
        store.close()

    def test_two_new_databases_do_not_count_from_the_same_number(self, tmp_path):
        firsts = set()
        for number in range(20):
            store = SqliteState(tmp_path / f"{number}.sqlite3")
            store.queue_events([Event(kind="a")])
            firsts.add(store.reports(0, 1)[0].sequence >> 23)
            store.close()
        assert len(firsts) == 20
        assert max(firsts) < 1 << 30
