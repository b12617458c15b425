"""Walks every page of a paged list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from muster_controller.ports import Page

T = TypeVar("T")


def every(fetch: Callable[[str], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages; ``fetch`` takes a cursor."""
    cursor = ""
    while True:
        page = fetch(cursor)
        yield from page.items
        cursor = page.next_cursor
        if not cursor:
            return
