"""What only a store on disk can get wrong: durability, locks, full disks, schema versions."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from muster_controller.adapters.store_sqlalchemy import SqlAlchemyStore, open_store
from muster_controller.adapters.store_sqlalchemy.tables import METADATA
from muster_controller.adapters.store_sqlalchemy.transactions import NEWEST_REVISION, open_sqlite
from muster_controller.testing_values import make_device, make_fleet, make_stored_report
from muster_protos import codec
from muster_protos.errors import PermanentError, TemporaryError
from muster_protos.model import BenchmarkRecord, Event

# Stores reports in batches without end and says, after each acknowledged batch, which was the last.
WRITER = """
import sys
from pathlib import Path
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.testing_values import make_stored_report
from muster_protos.model import BenchmarkRecord, Event
store = open_store(Path(sys.argv[1]))
last = int(sys.argv[2])
while True:
    batch = [make_stored_report(Event(f"e{n}", "x"), sequence=n) for n in range(last + 1, last + 8)]
    store.store_reports(batch)
    last += 7
    print(last, flush=True)
"""
OPENER = """
import sys
from pathlib import Path
from muster_controller.adapters.store_sqlalchemy import open_store
sys.stdin.readline()
open_store(Path(sys.argv[1])).close()
"""


def test_everything_is_there_after_close_and_reopen(path: Path) -> None:
    store = open_store(path)
    store.init_fleet(make_fleet())
    store.put_device(make_device(labels={"room": "kitchen"}))
    store.close()
    again = open_store(path)
    assert again.fleet() == make_fleet()
    assert again.get_device("pi-1") == make_device(labels={"room": "kitchen"})
    again.close()


def test_devices_and_records_of_a_store_of_the_first_revision_are_kept(path: Path) -> None:
    store = open_store(path)
    store.put_device(make_device())
    store.close()
    older = sqlite3.connect(path)
    for statement in (
        "DROP INDEX ix_records_arrival",
        "ALTER TABLE records DROP COLUMN arrival",
        "ALTER TABLE devices DROP COLUMN clock_offset_ns",
        "ALTER TABLE devices DROP COLUMN cloned_at_ns",
        "ALTER TABLE devices DROP COLUMN replaced_at_ns",
        "ALTER TABLE operations DROP COLUMN failure",
        "UPDATE alembic_version SET version_num = '0001'",
    ):
        older.execute(statement)
    for record_id, finished_at_ns in (("a", 30), ("b", 10), ("c", 20)):
        record = BenchmarkRecord(record_id=record_id, finished_at_ns=finished_at_ns)
        row = (record_id, "pi-1", "r", "", "kws", 1, "v", "valid", finished_at_ns, codec.encode(record))
        older.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    older.commit()
    older.close()
    again = open_store(path)
    assert again.get_device("pi-1") == make_device()
    assert [record.record_id for record in again.list_records().items] == ["b", "c", "a"]
    again.close()


def test_a_path_with_signs_that_mean_something_in_urls_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a ?x=1&y#%20ü.sqlite3"
    open_store(path).close()
    assert path.is_file()


def test_the_tables_can_be_made_in_postgresql() -> None:
    made = [str(CreateTable(table).compile(dialect=postgresql.dialect())) for table in METADATA.sorted_tables]
    assert len(made) == len(METADATA.tables)
    assert "BIGSERIAL" in next(text for text in made if "CREATE TABLE events" in text)


def test_acknowledged_reports_survive_kill_9_whole_and_once(path: Path) -> None:
    acknowledged = 0
    for acknowledgements in (1, 3, 7, 20, 2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(acknowledged)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(acknowledgements):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            said = writer.stdout.read().split()
        acknowledged = int(said[-1]) if said else acknowledged
        store = open_store(path)
        sequences = [item.sequence for item in store.list_reports(limit=100_000).items]
        events = [item.event_id for item in store.list_events(limit=100_000)]
        store.close()
        assert sequences[:acknowledged] == list(range(1, acknowledged + 1))
        assert len(sequences) == len(set(sequences))
        assert len(sequences) % 7 == 0, "a batch is stored whole or not at all"
        assert events == [f"e{sequence}" for sequence in sequences]
        acknowledged = len(sequences)


def test_writes_are_synced_before_they_are_acknowledged(path: Path) -> None:
    engine = open_sqlite(path)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_store_locked_by_another_process_is_a_temporary_error_and_stores_nothing(path: Path) -> None:
    store = open_store(path, busy_timeout_s=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TemporaryError, match="locked by another process") as caught:
        store.store_reports([make_stored_report(Event("e1", "x"))])
    assert caught.value.retry_after_s is not None
    assert store.list_events() == (), "readers are not kept out"
    other.execute("ROLLBACK")
    other.close()
    assert len(store.store_reports([make_stored_report(Event("e1", "x"))])) == 1
    store.close()


def test_a_full_disk_is_a_temporary_error_and_the_batch_leaves_nothing(path: Path) -> None:
    engine = open_sqlite(path)
    store = SqlAlchemyStore(engine)
    store.store_reports([make_stored_report(Event("e0", "x"), sequence=1)])
    engine.dispose()

    @event.listens_for(engine, "connect")
    def shrink(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1").close()  # no page more than there are

    big = [make_stored_report(Event(f"e{n}", "x", reason="r" * 3000), sequence=n) for n in range(2, 60)]
    with pytest.raises(TemporaryError, match="disk of the store is full"):
        store.store_reports(big)
    assert [item.event_id for item in store.list_events()] == ["e0"]
    assert len(store.list_reports().items) == 1
    event.remove(engine, "connect", shrink)
    engine.dispose()
    assert len(store.store_reports(big)) == 58
    store.close()


def test_a_file_that_is_no_database_is_refused_in_one_line(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1000)
    with pytest.raises(PermanentError, match="expected the fleet's store") as caught:
        open_store(path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_exist_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="cannot be used"):
        open_store(tmp_path / "missing" / "fleet.sqlite3")


def test_a_store_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    open_store(path).close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    other.close()
    with pytest.raises(PermanentError, match="newer version"):
        open_store(path)
    other = sqlite3.connect(path)
    assert other.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    other.close()


def test_the_newest_revision_is_the_last_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", "muster_controller:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST_REVISION]


def test_a_store_of_the_newest_revision_opens_without_alembic(path: Path) -> None:
    open_store(path).close()
    code = f"{OPENER}\nprint(sorted(name for name in sys.modules if name.partition('.')[0] in ('alembic', 'mako')))"
    found = subprocess.run(
        [sys.executable, "-c", code, str(path)], input="\n", capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_migrations_and_tables_agree(path: Path) -> None:
    open_store(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": METADATA})
        difference = compare_metadata(context, METADATA)
    engine.dispose()
    assert difference == []


def test_the_comparison_of_migrations_and_tables_can_fail(path: Path) -> None:
    open_store(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE devices ADD COLUMN surprise TEXT")
        context = MigrationContext.configure(connection, opts={"target_metadata": METADATA})
        difference = compare_metadata(context, METADATA)
    engine.dispose()
    assert len(difference) == 1


def test_controllers_that_start_at_once_on_a_new_file_all_open_it(path: Path) -> None:
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, str(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write(b"go\n")
        opener.stdin.flush()
    for opener in openers:
        _, stderr = opener.communicate(timeout=60)
        assert opener.returncode == 0, stderr.decode()
