"""Tables of the state database, and how an older one becomes today's."""

from __future__ import annotations

import secrets
import sqlite3

VERSION = 2  # PRAGMA user_version; the first release wrote none

_TABLES = (
    "CREATE TABLE desired (one INTEGER PRIMARY KEY CHECK (one = 1), envelope BLOB NOT NULL)",
    "CREATE TABLE serving ("
    "model_id TEXT PRIMARY KEY, trial BLOB, is_trial_active INTEGER NOT NULL, trial_starts INTEGER NOT NULL, "
    "last_good BLOB, conclusions TEXT NOT NULL, tested TEXT NOT NULL, "
    "http_port INTEGER NOT NULL, grpc_port INTEGER NOT NULL, "
    "before_good BLOB, testing TEXT NOT NULL DEFAULT '', test_starts INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE bad (key TEXT PRIMARY KEY, reason TEXT NOT NULL)",
    "CREATE TABLE runs ("
    "kind TEXT NOT NULL, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, phase TEXT NOT NULL, "
    "starts INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, request_id, attempt))",
    "CREATE TABLE reports (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL)",
    "CREATE TABLE rejections ("
    "sequence INTEGER PRIMARY KEY, request_id TEXT NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL)",
)
_FROM_THE_FIRST = (
    "ALTER TABLE serving ADD COLUMN before_good BLOB",
    "ALTER TABLE serving ADD COLUMN testing TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE serving ADD COLUMN test_starts INTEGER NOT NULL DEFAULT 0",
)
_COLUMNS = {
    "desired": {"one", "envelope"},
    "serving": {
        *("model_id", "trial", "is_trial_active", "trial_starts", "last_good", "conclusions", "tested"),
        *("http_port", "grpc_port", "before_good", "testing", "test_starts"),
    },
    "bad": {"key", "reason"},
    "runs": {"kind", "request_id", "attempt", "phase", "starts", "reason"},
    "reports": {"sequence", "payload"},
    "rejections": {"sequence", "request_id", "attempt", "reason"},
}


class SchemaError(sqlite3.DatabaseError):
    """A sound database, but not one of ours."""


def prepare(database: sqlite3.Connection) -> None:
    """Make the tables, or bring older ones up to date, in one transaction.

    Raises:
        SchemaError: another program, or a newer version, wrote it.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SchemaError(f"a newer version wrote it (schema {version}, this one knows {VERSION})")
    if version < VERSION:
        _bring_up(database, version)
    for table, wanted in _COLUMNS.items():
        found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        if found != wanted:
            raise SchemaError(f"its table {table} has the columns {', '.join(sorted(found)) or 'none'}")


def _bring_up(database: sqlite3.Connection, version: int) -> None:
    names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    is_new = not names
    if not is_new and (version, "serving" in names) not in ((0, True), (1, True)):
        raise SchemaError(f"its tables are {', '.join(sorted(names))}")
    database.execute("BEGIN IMMEDIATE")
    try:
        for statement in _TABLES if is_new else _FROM_THE_FIRST:
            database.execute(statement)
        if is_new:
            database.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('reports', ?)", (_first_sequence(),))
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        database.execute("ROLLBACK")
        if "duplicate column" in str(error) or "no such table" in str(error):
            raise SchemaError(str(error)) from error
        raise


def _first_sequence() -> int:
    """Where a new database begins to count: one of 2^30 blocks of 2^23 numbers, drawn.

    A rebuilt database must not repeat a number that a lost one used, and the clock is no help: a board without a
    battery begins every life in 1970. Below 2^53, so that JSON readers keep it exact; above what milliseconds since
    1970, by which the first release counted, reach before the year 2500.
    """
    return ((1 << 21) + secrets.randbelow((1 << 30) - (1 << 21))) << 23
