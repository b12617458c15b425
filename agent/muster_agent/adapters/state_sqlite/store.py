"""The agent's durable state in SQLite (WAL, ``synchronous=FULL``: what a call stored survives a power cut).

A database that is damaged is set aside and rebuilt: the desired state, the last good models and their ports come back
from their copies (``copies.py``), the artifacts are still in their folder, and the controller sends the rest again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from muster_agent.adapters.state_sqlite.copies import StateCopies
from muster_agent.adapters.state_sqlite.database import Database
from muster_agent.adapters.state_sqlite.rows import INSERT_SERVING, SELECT_SERVING, record_from_row, row_from_record
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


class SqliteState:
    """The ``StateStore`` port over one database file; its folder must exist."""

    def __init__(self, path: Path) -> None:
        self._copies = StateCopies(path.parent)
        self._loss = ""
        self._database = Database(path, self._rebuilt, self._fill)
        self._database.begin()
        if not self._copies.has_ports and not self.problem:
            with suppress(TemporaryError):  # a disk that takes nothing: at the next change
                self._copies.keep_ports(self.serving())

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._database.close()

    @property
    def problem(self) -> str:
        """Why nothing can be stored just now; "" when it can."""
        return self._database.problem

    def take_loss(self) -> str:
        """What a rebuilt database has lost, told once; "" when nothing."""
        loss, self._loss = self._loss, ""
        return loss

    # ---- desired state ----

    def desired(self) -> SignedEnvelope | None:
        row = self._database.read("SELECT envelope FROM desired")
        return codec.decode(SignedEnvelope, row[0][0]) if row else None

    def put_desired(self, envelope: SignedEnvelope) -> None:
        self._copies.keep_desired(envelope)  # first: a database that is rebuilt from it must not go back
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO desired VALUES (1, ?)", (codec.encode(envelope),))

    # ---- serving ----

    def serving(self) -> dict[str, ServingRecord]:
        rows = self._database.read(SELECT_SERVING)
        records: dict[str, ServingRecord] = {}
        for row in rows:
            try:
                records[row[0]] = record_from_row(row)
            except (InvalidInputError, ValueError, KeyError) as error:
                log.error("the record of model %s is unreadable and left out: %s", row[0], error)
        return records

    def put_serving(self, record: ServingRecord) -> None:
        with self._database.transaction() as database:
            database.execute(INSERT_SERVING, row_from_record(record))
        self._copies.keep_last_good(self.serving())

    def drop_serving(self, model_id: str) -> None:
        with self._database.transaction() as database:
            database.execute("DELETE FROM serving WHERE model_id = ?", (model_id,))
        self._copies.keep_last_good(self.serving())

    def bad(self) -> dict[str, str]:
        return dict(self._database.read("SELECT key, reason FROM bad ORDER BY key"))

    def mark_bad(self, key: str, reason: str) -> None:
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO bad VALUES (?, ?)", (key, reason))

    def clear_bad(self, sha256s: Sequence[str]) -> None:
        with self._database.transaction() as database:
            database.executemany("DELETE FROM bad WHERE key GLOB ?", [(f"{sha256} *",) for sha256 in sha256s])

    def unmark_bad(self, keys: Sequence[str]) -> None:
        marked = [(key,) for key in keys if key in self.bad()]
        if marked:
            with self._database.transaction() as database:
                database.executemany("DELETE FROM bad WHERE key = ?", marked)

    # ---- runs ----

    def runs(self, kind: str) -> tuple[Run, ...]:
        rows = self._database.read(
            "SELECT request_id, attempt, phase, starts, reason FROM runs WHERE kind = ? ORDER BY rowid", (kind,)
        )
        return tuple(Run(row[0], row[1], BenchmarkPhase(row[2]), row[3], row[4]) for row in rows)

    def put_run(self, kind: str, run: Run, body: BenchmarkRecord | LoadResult | None = None) -> None:
        with self._database.transaction() as database:
            database.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, request_id, attempt) DO UPDATE SET "
                "phase = excluded.phase, starts = excluded.starts, reason = excluded.reason",
                (kind, run.request_id, run.attempt, run.phase.value, run.starts, run.reason),
            )
            if body is not None:
                self._queue(database, Report(request_id=run.request_id, attempt=run.attempt, body=body))

    def drop_runs(self, kind: str, keys: Sequence[tuple[str, int]]) -> None:
        with self._database.transaction() as database:
            database.executemany(
                "DELETE FROM runs WHERE kind = ? AND request_id = ? AND attempt = ?", [(kind, *key) for key in keys]
            )

    # ---- reports ----

    def queue_events(self, events: Sequence[Event]) -> None:
        with self._database.transaction() as database:
            for event in events:
                self._queue(database, Report(request_id=EVENTS, body=event))

    def reports(self, after_sequence: int, limit: int) -> tuple[Report, ...]:
        rows = self._database.read(
            "SELECT sequence, payload FROM reports WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after_sequence, limit),
        )
        return tuple(_numbered(codec.decode(Report, payload), sequence) for sequence, payload in rows)

    def acknowledge(self, request_id: str, attempt: int, sequence: int, rejected_reason: str) -> bool:
        with self._database.transaction() as database:
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
        return tuple(
            self._database.read("SELECT request_id, attempt, sequence, reason FROM rejections ORDER BY sequence")
        )

    # ---- a database that was lost ----

    def _queue(self, database: sqlite3.Connection, report: Report) -> None:
        database.execute("INSERT INTO reports (payload) VALUES (?)", (codec.encode(report),))

    def _rebuilt(self, reason: str, aside: Path) -> None:
        """The desired state and the last good models from their copies, reports from a sound database of another
        schema. What else was in it is told as lost."""
        records, envelope = self._copies.last_good(), self._copies.desired()
        try:
            for record in records:
                self.put_serving(record)
            if envelope is not None:
                self.put_desired(envelope)
            kept = self._keep_reports(aside)
        except TemporaryError as error:
            self._loss = f"the state database was unusable ({reason}) and nothing could be restored: {error}"
            return
        portless = [record.model_id for record in records if not record.http_port]
        ports = f", the serving ports of {', '.join(portless)}" if portless else ""
        self._loss = (
            f"the state database was unusable ({reason}) and is set aside as {aside.name}; restored from copies: "
            f"{'the desired state' if envelope else 'no desired state'}, {len(records)} last good models, "
            f"{kept} waiting reports; lost: what else waited to be reported, marks of bad artifacts, run records{ports}"
        )
        log.warning("%s", self._loss)

    def _fill(self, database: sqlite3.Connection) -> None:
        """What the copies tell, where the database cannot be believed: above all, the artifacts of last good models
        are no garbage. The copy of the desired state is never older than the database's."""
        held = {row[0] for row in database.execute("SELECT model_id FROM serving")}
        for record in self._copies.last_good():
            if record.model_id not in held:
                database.execute(INSERT_SERVING, row_from_record(record))
        envelope = self._copies.desired()
        if envelope is not None:
            database.execute("INSERT OR REPLACE INTO desired VALUES (1, ?)", (codec.encode(envelope),))

    def _keep_reports(self, aside: Path) -> int:
        """Only from a database that is sound: what a damaged one says may be anything."""
        try:
            with closing(sqlite3.connect(f"file:{quote(str(aside))}?mode=ro", uri=True)) as source:
                if source.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    return 0
                rows = source.execute("SELECT sequence, payload FROM reports ORDER BY sequence").fetchall()
            for _, payload in rows:
                codec.decode(Report, payload)
        except (sqlite3.Error, InvalidInputError, TypeError):
            return 0
        with self._database.transaction() as database:
            database.executemany("INSERT OR IGNORE INTO reports (sequence, payload) VALUES (?, ?)", rows)
        return len(rows)


def _numbered(report: Report, sequence: int) -> Report:
    body = report.body
    if isinstance(body, BenchmarkRecord):
        body = replace(body, sequence=sequence)
    return Report(report.request_id, report.attempt, sequence, body)
