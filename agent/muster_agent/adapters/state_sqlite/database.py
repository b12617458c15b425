"""The database file itself: opened, set aside when it is damaged, read from memory when the disk takes nothing.

SQLite in WAL mode with ``synchronous=FULL``: what a transaction stored survives a power cut.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from muster_agent.adapters.state_sqlite.schema import VERSION, SchemaError, prepare
from muster_devices.failpoint import hit
from muster_protos.errors import TemporaryError

log = logging.getLogger(__name__)

_THAW_EVERY_S = 2.0
_REBUILDS = 3  # within the time below; a disk that spoils each new database is left alone for as long
_REBUILDS_WITHIN_S = 600.0


class Database:
    """One connection behind one lock; a transaction per call.

    Invariants: a database that is damaged, or of another schema, is moved away and never overwritten; while the disk
    takes nothing (full, read-only, or spoils one database after the other), what lay there is read from memory and
    every write fails.
    """

    def __init__(
        self,
        path: Path,
        on_rebuilt: Callable[[str, Path], None],
        fill: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        """``on_rebuilt`` gets the reason and the file that was set aside, once a new one is open; ``fill`` adds what
        is known from elsewhere to one in memory that stands in for a spoilt one."""
        self._path = path
        self._on_rebuilt = on_rebuilt
        self._fill = fill
        self._lock = threading.RLock()
        self.problem = ""  # why nothing can be written; "" when it can
        self._damage: sqlite3.DatabaseError | None = None
        self._thaw_s = 0.0
        self._rebuilds_s: list[float] = []  # when; the newest
        self._is_telling = False
        self._connection = self._first()

    def begin(self) -> None:
        """Tell of a rebuild that the opening brought; separate, since telling writes."""
        if self._damage is not None:
            damage, self._damage = self._damage, None
            self._is_telling = True
            try:
                self._on_rebuilt(str(damage), self._aside)
            finally:
                self._is_telling = False

    def close(self) -> None:
        self._connection.close()

    def read(self, sql: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translated():
            return self._connection.execute(sql, arguments).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit at the end of the block, or leave everything as it was.

        Raises:
            TemporaryError: the disk is full, read-only or failing, or the database was damaged and has been rebuilt.
        """
        with self._lock, self._translated():
            self._thaw()
            database = self._connection
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                hit("state: before the commit")
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # a failed COMMIT may have ended it, or not
                    database.execute("ROLLBACK")
                raise
            hit("state: committed")

    # ---- the file ----

    @property
    def _aside(self) -> Path:
        return self._path.with_name(f"{self._path.name}.damaged")

    def _first(self) -> sqlite3.Connection:
        try:
            return _open(self._path)
        except (sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
                return self._anew(error)
            if "locked" in str(error):
                raise TemporaryError(f"state database {self._path} cannot be opened: {error}") from error
            return self._frozen(error)

    def _anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        log.error("state database %s is unusable (%s); set aside as %s", self._path, error, self._aside.name)
        try:
            _set_aside(self._path, self._aside)
            made = _open(self._path)
        except (OSError, sqlite3.Error) as failure:
            return self._frozen(failure)
        self._damage = error
        return made

    def _frozen(self, error: Exception, is_spoilt: bool = False) -> sqlite3.Connection:
        """What lies on the disk, in memory; read only until the disk takes writes again. ``is_spoilt``: the disk does
        not give back what it takes, so it rests for longer, and what the copies know is added."""
        self.problem = f"the state database {self._path} cannot be written: {_plain(error)}"
        log.error("%s; what is known is served on, nothing new is begun", self.problem)
        self._thaw_s = time.monotonic() + (_REBUILDS_WITHIN_S if is_spoilt else _THAW_EVERY_S)
        memory = _in_memory()
        try:
            with closing(open_reader(self._path)) as source:
                source.backup(memory)
            if memory.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check found damage")
            prepare(memory)
        except (sqlite3.Error, OSError):
            memory.close()
            memory = _in_memory()
            prepare(memory)
            is_spoilt = True
        if is_spoilt:
            self._fill(memory)
        memory.execute("PRAGMA query_only = ON")
        return memory

    def _thaw(self) -> None:
        if not self.problem:
            return
        if time.monotonic() >= self._thaw_s:
            self._thaw_s = time.monotonic() + _THAW_EVERY_S
            try:
                thawed = _open(self._path)
            except (OSError, sqlite3.OperationalError) as error:
                log.debug("still nothing can be written: %s", error)
            except sqlite3.DatabaseError as error:
                self._rebuild(error)
            else:
                self._connection.close()
                self._connection, self.problem = thawed, ""
                log.warning("state database %s can be written again", self._path)
        if self.problem:
            raise TemporaryError(self.problem, _THAW_EVERY_S)

    def _rebuild(self, error: sqlite3.DatabaseError) -> None:
        """Never while a rebuild is being told, which writes, and seldom: else a disk that spoils what it is given has
        us set aside one database after the other, and the sound one that was set aside first is gone."""
        now_s = time.monotonic()
        self._rebuilds_s = [each_s for each_s in self._rebuilds_s if now_s - each_s < _REBUILDS_WITHIN_S]
        if self._is_telling or len(self._rebuilds_s) >= _REBUILDS:
            frozen = self._frozen(error, is_spoilt=True)
            self._connection.close()
            self._connection = frozen
            return
        self._rebuilds_s.append(now_s)
        self._connection.close()
        self.problem = ""
        self._connection = self._anew(error)
        self.begin()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _is_damage(error) and not self.problem:
                self._rebuild(error)
                ending = "cannot be mended just now" if self.problem else "has been rebuilt"
                raise TemporaryError(f"the state database was damaged and {ending}: {error}") from error
            raise TemporaryError(f"the state database failed: {_plain(error)}", 1.0) from error
        except sqlite3.Error as error:
            raise TemporaryError(f"the state database failed: {error}") from error


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA cache_size = -512")  # KiB: the agent is small
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check found damage")
        prepare(database)
        if path.stat().st_mode & 0o777 != 0o600:
            path.chmod(0o600)
        database.execute("BEGIN IMMEDIATE")  # a disk that only reads lets us come as far as this
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Read only; ``immutable`` when even the index beside the log cannot be made and there is nothing in the log.

    Raises:
        sqlite3.Error: it is not there, or cannot be read.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    reader = sqlite3.connect(uri, uri=True, timeout=5.0)
    try:
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        reader.close()
        written_ahead = path.with_name(f"{path.name}-wal")
        if written_ahead.exists() and written_ahead.stat().st_size:
            raise
        return sqlite3.connect(f"{uri}&immutable=1", uri=True)
    return reader


def _set_aside(path: Path, aside: Path) -> None:
    """The log first: beside a new database an old log would be taken for the new one's."""
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    for suffix in ("-wal", ""):
        found = path.with_name(path.name + suffix)
        if found.exists():
            found.replace(aside.with_name(aside.name + suffix))


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    if isinstance(error, SchemaError) or type(error) is sqlite3.DatabaseError:
        return True
    return any(word in str(error) for word in ("malformed", "not a database", "disk image", "no such table"))


def _plain(error: Exception) -> str:
    text = str(error)
    if "full" in text or "No space" in text:
        return f"the disk is full ({text}); free some space"
    if "readonly" in text or "Read-only" in text:
        return f"it is read-only ({text}); mount it for writing"
    return text
