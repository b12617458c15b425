"""A consistent copy of the store's SQLite file, taken beside a controller that writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from muster_protos.errors import NotFoundError, PermanentError, TemporaryError

_BUSY_TIMEOUT_S = 30.0


def take_snapshot(source: Path, target: Path) -> None:
    """``source`` as of one moment, by SQLite's backup API, as one file without a log beside it.

    Raises:
        NotFoundError: there is no store.
        TemporaryError: it stays locked, or the disk is full.
        PermanentError: it is damaged.
    """
    if not source.is_file():
        raise NotFoundError(f"expected a fleet at {source.parent}, found no {source.name}; choose with --data")
    target.touch(0o600)
    with _translated(source), closing(_open(source, "ro")) as origin, closing(_open(target, "rw")) as copy:
        origin.backup(copy)  # all pages in one step: one read transaction, which no writer waits for in WAL mode
    as_one_file(target)
    check_store(target)


def as_one_file(path: Path) -> None:
    """Nothing of the database lies in a log beside it; nobody else may have it open."""
    with _translated(path), closing(_open(path, "rw")) as database:
        database.execute("PRAGMA journal_mode=DELETE").close()


def check_store(path: Path) -> None:
    """PermanentError when the file is not a sound SQLite database."""
    with _translated(path), closing(_open(path, "ro")) as database:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise PermanentError(f"expected a sound store at {path}, found damage: {verdict}")


def schema_of(path: Path) -> str:
    """The revision of its tables; "" when it has none."""
    with _translated(path), closing(_open(path, "ro")) as database:
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT_S)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise TemporaryError(f"the store at {path} cannot be copied now: {error}") from error
    except sqlite3.DatabaseError as error:
        raise PermanentError(f"expected a Muster store at {path}, found something else: {error}") from error
