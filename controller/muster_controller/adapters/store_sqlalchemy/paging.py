"""Lists in pages, and rows that must exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, CursorResult, RowMapping, Select, Table, bindparam, select
from sqlalchemy.sql.dml import UpdateBase

from muster_controller.ports import Page
from muster_protos.errors import InvalidInputError, NotFoundError

T = TypeVar("T")
Row = RowMapping


def page_of(
    connection: Connection,
    query: Select[Any],
    key: ColumnElement[Any],
    cursor: str,
    limit: int,
    read: Callable[[Row], T],
) -> Page[T]:
    """The rows after ``cursor`` in the order of ``key``."""
    if cursor:
        query = query.where(key > cursor)
    return cut_page(connection, query.order_by(key), key.key or "", limit, read)


def page_by_position(
    connection: Connection,
    query: Select[Any],
    key: ColumnElement[int],
    cursor: str,
    limit: int,
    read: Callable[[Row], T],
    *,
    is_newest_first: bool,
) -> Page[T]:
    """The rows after ``cursor`` in the order in which they were stored, or the other way round."""
    if cursor:
        if not cursor.isdecimal():
            raise InvalidInputError(f"expected the next_cursor of the page before, found {cursor[:80]!r}")
        query = query.where(key < int(cursor) if is_newest_first else key > int(cursor))
    query = query.order_by(key.desc() if is_newest_first else key)
    return cut_page(connection, query, key.key or "", limit, read)


def cut_page(
    connection: Connection, query: Select[Any], key_name: str, limit: int, read: Callable[[Row], T]
) -> Page[T]:
    """At most ``limit`` rows of an ordered query; the cursor is set when there are more."""
    if limit < 1:
        raise InvalidInputError(f"expected a page of at least 1, found {limit}")
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    items = tuple(read(row) for row in rows[:limit])
    return Page(items, str(rows[limit - 1][key_name]) if len(rows) > limit else "")


def one(connection: Connection, query: Select[Any], what: str, bound: Mapping[str, Any] | None = None) -> Row:
    """The only row of a query, or NotFoundError."""
    row = connection.execute(query, bound).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"expected a known {what}, found none of that id")
    return row


def rows_where(
    connection: Connection, table: Table, key: ColumnElement[Any], found: Mapping[str, str | None]
) -> Sequence[Row]:
    """The rows whose columns are as ``found`` says (None = whatever), in the order of ``key``."""
    bound = {name: value for name, value in found.items() if value is not None}
    return connection.execute(_where(table, key, tuple(bound)), bound).mappings().all()


@lru_cache(maxsize=64)
def _where(table: Table, key: ColumnElement[Any], names: tuple[str, ...]) -> Select[Any]:
    """Built once for each set of columns: composing a statement costs more than running it."""
    return select(table).where(*(table.c[name] == bindparam(name) for name in names)).order_by(key)


def change_one(
    connection: Connection, statement: UpdateBase, what: str, bound: Mapping[str, Any] | None = None
) -> None:
    """Run an update or delete that must hit a row, or NotFoundError."""
    result: CursorResult[Any] = connection.execute(statement, bound)
    if result.rowcount == 0:
        raise NotFoundError(f"expected a known {what}, found none of that id")
