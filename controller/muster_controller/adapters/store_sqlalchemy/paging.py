"""Lists in pages, and rows that must exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, CursorResult, RowMapping, Select
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


def one(connection: Connection, query: Select[Any], what: str) -> Row:
    """The only row of a query, or NotFoundError."""
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"expected a known {what}, found none of that id")
    return row


def change_one(connection: Connection, statement: UpdateBase, what: str) -> None:
    """Run an update or delete that must hit a row, or NotFoundError."""
    result: CursorResult[Any] = connection.execute(statement)
    if result.rowcount == 0:
        raise NotFoundError(f"expected a known {what}, found none of that id")
