"""Opening the database, transactions, and the one place where the database's errors become ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from muster_controller.adapters.store_sqlalchemy.group_commit import GroupCommit
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, NotFoundError, PermanentError, TemporaryError

BUSY_TIMEOUT_S = 10.0
_RETRY_AFTER_S = 1.0
_IS_WRITE = "muster_is_write"
NEWEST_REVISION = "0004"
"""The last file of ``migrations/versions``; a test holds the two together."""


class Transactions:
    """Read and write transactions over one database; every noun's mixin builds on these two.

    Writes of this process take turns (SQLite has one writer anyway, and a fair queue beats its polling); writers of
    other processes are waited for up to the busy timeout. An acknowledged write survives SIGKILL and power loss:
    WAL with synchronous=FULL.
    """

    def __init__(self, engine: Engine, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._engine = engine
        self._busy_timeout_s = busy_timeout_s
        self._write_turn = threading.Lock()
        self._shared = _Shared()
        self._together: GroupCommit[Callable[[], None], None] = GroupCommit(self._commit_together)

    def close(self) -> None:
        """Give the connections back; the store is unusable afterwards."""
        self._engine.dispose()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything that this thread reads in the block is of one moment, and costs one transaction."""
        if self._shared.reading is not None:
            yield
            return
        with self._reading() as connection:
            self._shared.reading = connection
            try:
                yield
            finally:
                self._shared.reading = None

    def together(self, write: Callable[[], None]) -> None:
        """One durable transaction of everything that ``write`` stores, shared with others that wait just now.

        It runs in whichever thread writes for the group, and again when somebody else's spoils the group: it does
        nothing but store. Nothing in it may wait for another thread's write: no reports, no telemetry.
        """
        if self._shared.writing is not None:
            write()
        else:
            self._together.submit([write])

    def _commit_together(self, writes: Sequence[Callable[[], None]]) -> Sequence[None]:
        with self._writing() as connection:
            before, self._shared.reading = self._shared.reading, connection
            self._shared.writing = connection
            try:
                for write in writes:
                    write()
            finally:
                self._shared.writing, self._shared.reading = None, before
        return [None] * len(writes)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A consistent snapshot."""
        shared = self._shared.reading
        if shared is not None:
            with _translated():
                yield shared
            return
        with _translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One durable transaction, exclusive from its first statement on: what was read in it cannot move."""
        shared = self._shared.writing
        if shared is not None:
            with _translated():
                yield shared
            return
        if not self._write_turn.acquire(timeout=self._busy_timeout_s):
            raise _busy()
        try:
            with _translated(), self._engine.connect() as connection:
                connection = connection.execution_options(**{_IS_WRITE: True})
                with connection.begin():
                    yield connection
                    hit("store: before the commit")
            hit("store: committed")
        finally:
            self._write_turn.release()


class _Shared(threading.local):
    """The connections that a thread's statements share just now."""

    reading: Connection | None = None
    writing: Connection | None = None


def open_sqlite(path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """An engine over the SQLite file ``path``, made when missing, with the newest schema.

    Raises:
        TemporaryError: another process holds the file, or the disk is full.
        PermanentError: it is not such a database, or a newer version wrote it.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_s, "isolation_level": None},
        pool_size=8,
        max_overflow=8,
        pool_timeout=busy_timeout_s,
        pool_use_lifo=True,  # few connections do most of the work, so few page caches grow
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    try:
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision in one transaction; several controllers may start at once."""
    if not _is_newest(engine):
        _upgrade(engine)


def _is_newest(engine: Engine) -> bool:
    """Then alembic need not be loaded: it is a tenth of a controller's start."""
    with _translated(), engine.connect() as connection, connection.begin():
        if not engine.dialect.has_table(connection, "alembic_version"):
            return False
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return found == [NEWEST_REVISION]


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "muster_controller:migrations")
    with _translated(), engine.connect() as connection:
        connection = connection.execution_options(**{_IS_WRITE: True})
        with connection.begin():
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise PermanentError(
                    f"expected a store that this version can read, found one that a newer version wrote ({error}); "
                    "install that version or restore a backup"
                ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # The driver is told to leave transactions alone; a writer takes the lock before it reads (no lost updates).
    if connection.get_execution_options().get(_IS_WRITE, False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:  # takes no lock, so it cannot fail; SQLAlchemy's way around it costs more than many a query
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN").close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if "foreign key" in str(error.orig).lower():
            raise NotFoundError(f"expected known ids, found one that is not in the store ({_short(error)})") from error
        raise ConflictError(f"expected a new row, found one with the same id ({_short(error)})") from error
    except PoolTimeoutError as error:
        raise _busy() from error
    except OperationalError as error:
        raise _operational(error) from error
    except DatabaseError as error:
        raise PermanentError(f"expected a Muster store, found something else: {_short(error)}") from error


def _operational(error: OperationalError) -> TemporaryError:
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return _busy()
    if "full" in text:
        return TemporaryError("the disk of the store is full; nothing was stored: make room", _RETRY_AFTER_S)
    return TemporaryError(f"the store's file cannot be used: {text}", _RETRY_AFTER_S)


def _busy() -> TemporaryError:
    return TemporaryError("the store is locked by another process or swamped with writes; nothing was stored", 1.0)


def _short(error: DatabaseError) -> str:
    return str(error.orig).splitlines()[0][:200]
