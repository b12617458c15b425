"""Group commit: batches that arrive while a transaction is being written share the next one.

A durable commit waits for the disk (synchronous=FULL), so a thousand devices that report at once must not cost a
thousand waits. Whoever comes first writes for everybody who is waiting; nobody waits for company.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from muster_protos.errors import TemporaryError

T = TypeVar("T")
R = TypeVar("R")

LARGEST_GROUP = 2_000
"""Items in one transaction; more wait for the next one, so that no reader or other process waits for long."""


@dataclass(eq=False)
class _Waiting(Generic[T, R]):
    items: Sequence[T]
    done: threading.Event = field(default_factory=threading.Event)
    stored: tuple[R, ...] = ()
    error: Exception | None = None


class GroupCommit(Generic[T, R]):
    """Callers' batches, committed together.

    ``commit`` writes items in one transaction and returns one result per item, None for what was known. When a group
    fails for good, each caller's batch is tried by itself: what one device sent never fails another's.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Sequence[R | None]]) -> None:
        self._commit = commit
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()
        self._queue: list[_Waiting[T, R]] = []

    def submit(self, items: Sequence[T]) -> tuple[R, ...]:
        """The results that are not None, once they are durable; raises what ``commit`` raised."""
        mine: _Waiting[T, R] = _Waiting(items)
        with self._queue_lock:
            self._queue.append(mine)
        with self._turn:
            # Whoever had the turn before may have written this batch, too.
            while not mine.done.is_set():
                self._write_next()
        if mine.error is not None:
            raise mine.error
        return mine.stored

    def _write_next(self) -> None:
        group = self._take()
        try:
            self._write(group)
        except TemporaryError as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - handed to whom it belongs
            if len(group) == 1:
                _fail(group, error)
            for waiting in group if len(group) > 1 else ():
                self._write_alone(waiting)
        except BaseException:  # this thread is being ended; the others' batches must not go with it
            with self._queue_lock:
                self._queue[:0] = group
            raise

    def _write_alone(self, waiting: _Waiting[T, R]) -> None:
        try:
            self._write([waiting])
        except Exception as error:  # noqa: BLE001 - handed to whom it belongs
            _fail([waiting], error)

    def _write(self, group: Sequence[_Waiting[T, R]]) -> None:
        results = iter(self._commit([item for waiting in group for item in waiting.items]))
        for waiting in group:
            found = [next(results) for _ in waiting.items]
            waiting.stored = tuple(result for result in found if result is not None)
            waiting.done.set()

    def _take(self) -> list[_Waiting[T, R]]:
        with self._queue_lock:
            group = [self._queue.pop(0)]
            size = len(group[0].items)
            while self._queue and size + len(self._queue[0].items) <= LARGEST_GROUP:
                group.append(self._queue.pop(0))
                size += len(group[-1].items)
        return group


def _fail(group: Sequence[_Waiting[T, R]], error: Exception) -> None:
    for waiting in group:
        waiting.error = error
        waiting.done.set()
