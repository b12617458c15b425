"""The agent's durable state in SQLite (WAL, ``synchronous=FULL``: what a call stored survives a power cut).

A database that is damaged is put aside and rebuilt empty: the desired state and the serving pointers come back from
their copies (``copies.py``), the artifacts are still in their folder, and the controller sends the rest again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from muster_agent.adapters.state_sqlite.copies import StateCopies
from muster_agent.adapters.state_sqlite.rows import record_from_row, row_from_record
from muster_agent.core.known import Run, ServingRecord
from muster_protos import codec
from muster_protos.errors import InvalidInputError, TemporaryError
from muster_protos.model import (
    BenchmarkPhase,
    BenchmarkRecord,
    Event,
    LoadResult,
    Report,
    SignedEnvelope,
)

log = logging.getLogger(__name__)

EVENTS = "events"  # request id of reports that nobody requested
REJECTIONS_KEPT = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS desired (one INTEGER PRIMARY KEY CHECK (one = 1), envelope BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS serving (
    model_id TEXT PRIMARY KEY, trial BLOB, is_trial_active INTEGER NOT NULL, trial_starts INTEGER NOT NULL,
    last_good BLOB, conclusions TEXT NOT NULL, tested TEXT NOT NULL,
    http_port INTEGER NOT NULL, grpc_port INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bad (key TEXT PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    kind TEXT NOT NULL, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, phase TEXT NOT NULL,
    starts INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, request_id, attempt));
CREATE TABLE IF NOT EXISTS reports (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rejections (
    sequence INTEGER PRIMARY KEY, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL);
"""


class SqliteState:
    """One connection behind one lock; a transaction per call.

    Args:
        path: the database file; its folder must exist.
        now_ns: wall clock, the floor of sequence numbers when a database is made: a rebuilt one must not repeat the
            numbers that a lost one used.
    """

    def __init__(self, path: Path, now_ns: int | None = None) -> None:
        self._path = path
        self._copies = StateCopies(path.parent)
        self._lock = threading.Lock()
        self._first_sequence = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise TemporaryError(f"state database {path} cannot be opened: {error}") from error
            self._put_aside(error)
            self._database = self._open()
            self._restore()

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._database.close()

    # ---- desired state ----

    def desired(self) -> SignedEnvelope | None:
        row = self._read("SELECT envelope FROM desired")
        return codec.decode(SignedEnvelope, row[0][0]) if row else None

    def put_desired(self, envelope: SignedEnvelope) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO desired VALUES (1, ?)", (codec.encode(envelope),))
        self._copies.keep_desired(envelope)

    # ---- serving ----

    def serving(self) -> dict[str, ServingRecord]:
        rows = self._read(
            "SELECT model_id, trial, is_trial_active, trial_starts, last_good, conclusions, tested, http_port, "
            "grpc_port FROM serving ORDER BY model_id"
        )
        records: dict[str, ServingRecord] = {}
        for row in rows:
            try:
                records[row[0]] = record_from_row(row)
            except (InvalidInputError, ValueError, KeyError) as error:
                log.error("the record of model %s is unreadable and left out: %s", row[0], error)
        return records

    def put_serving(self, record: ServingRecord) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO serving VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row_from_record(record)
            )
        self._copies.keep_last_good(self.serving())

    def drop_serving(self, model_id: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM serving WHERE model_id = ?", (model_id,))
        self._copies.keep_last_good(self.serving())

    def bad(self) -> dict[str, str]:
        return dict(self._read("SELECT key, reason FROM bad ORDER BY key"))

    def mark_bad(self, key: str, reason: str) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO bad VALUES (?, ?)", (key, reason))

    def clear_bad(self, sha256s: Sequence[str]) -> None:
        with self._transaction() as database:
            database.executemany("DELETE FROM bad WHERE key GLOB ?", [(f"{sha256} *",) for sha256 in sha256s])

    # ---- runs ----

    def runs(self, kind: str) -> tuple[Run, ...]:
        rows = self._read(
            "SELECT request_id, attempt, phase, starts, reason FROM runs WHERE kind = ? ORDER BY rowid", (kind,)
        )
        return tuple(Run(row[0], row[1], BenchmarkPhase(row[2]), row[3], row[4]) for row in rows)

    def put_run(self, kind: str, run: Run, body: BenchmarkRecord | LoadResult | None = None) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, request_id, attempt) DO UPDATE SET "
                "phase = excluded.phase, starts = excluded.starts, reason = excluded.reason",
                (kind, run.request_id, run.attempt, run.phase.value, run.starts, run.reason),
            )
            if body is not None:
                self._queue(database, Report(request_id=run.request_id, attempt=run.attempt, body=body))

    def drop_runs(self, kind: str, keys: Sequence[tuple[str, int]]) -> None:
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM runs WHERE kind = ? AND request_id = ? AND attempt = ?", [(kind, *key) for key in keys]
            )

    # ---- reports ----

    def queue_events(self, events: Sequence[Event]) -> None:
        with self._transaction() as database:
            for event in events:
                self._queue(database, Report(request_id=EVENTS, body=event))

    def reports(self, after_sequence: int, limit: int) -> tuple[Report, ...]:
        rows = self._read(
            "SELECT sequence, payload FROM reports WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after_sequence, limit),
        )
        return tuple(_numbered(codec.decode(Report, payload), sequence) for sequence, payload in rows)

    def acknowledge(self, request_id: str, attempt: int, sequence: int, rejected_reason: str) -> bool:
        with self._transaction() as database:
            row = database.execute("SELECT payload FROM reports WHERE sequence = ?", (sequence,)).fetchone()
            report = codec.decode(Report, row[0]) if row else None
            if report is None or (report.request_id, report.attempt) != (request_id, attempt):
                return False
            database.execute("DELETE FROM reports WHERE sequence = ?", (sequence,))
            if rejected_reason:
                database.execute(
                    "INSERT OR REPLACE INTO rejections VALUES (?, ?, ?, ?)",
                    (sequence, request_id, attempt, rejected_reason[:500]),
                )
                database.execute(
                    "DELETE FROM rejections WHERE sequence NOT IN "
                    "(SELECT sequence FROM rejections ORDER BY sequence DESC LIMIT ?)",
                    (REJECTIONS_KEPT,),
                )
            return True

    def rejections(self) -> tuple[tuple[str, int, int, str], ...]:
        """(request id, attempt, sequence, reason) of what the controller would not take, oldest first."""
        return tuple(self._read("SELECT request_id, attempt, sequence, reason FROM rejections ORDER BY sequence"))

    # ---- the database ----

    def _queue(self, database: sqlite3.Connection, report: Report) -> None:
        database.execute("INSERT INTO reports (payload) VALUES (?)", (codec.encode(report),))

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA cache_size = -512")  # KiB: the agent is small
            if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check found damage")
            database.executescript(_SCHEMA)
            database.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT 'reports', ? "
                "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'reports')",
                (self._first_sequence,),
            )
        except BaseException:
            database.close()
            raise
        self._path.chmod(0o600)
        return database

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        log.error("state database %s is damaged (%s); moved to %s and rebuilt", self._path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.replace(aside)

    def _restore(self) -> None:
        """The desired state and the last good models from their copies."""
        records, envelope = self._copies.last_good(), self._copies.desired()
        for record in records:
            self.put_serving(record)
        if envelope is not None:
            self.put_desired(envelope)
        log.warning("restored %d last good models%s", len(records), " and the desired state" if envelope else "")

    def _read(self, sql: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _translated():
            return self._database.execute(sql, arguments).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise TemporaryError(f"the state database failed: {error}") from error


def _numbered(report: Report, sequence: int) -> Report:
    body = report.body
    if isinstance(body, BenchmarkRecord):
        body = replace(body, sequence=sequence)
    return Report(report.request_id, report.attempt, sequence, body)


def _is_damage(error: sqlite3.OperationalError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "disk image"))
