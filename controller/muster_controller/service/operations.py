"""Long work on the host: import and compression, each with progress that a person may follow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from muster_controller.core.entities import Operation, OperationState
from muster_controller.ports import Clock, Page, Store
from muster_controller.service.context import new_id
from muster_controller.service.events import Events
from muster_controller.service.paging import every
from muster_controller.service.workshop import OnProgress
from muster_devices.failpoint import hit
from muster_protos.errors import MissingExtraError, MusterError

_log = logging.getLogger(__name__)

MISSING_EXTRA = "missing_extra"  # the same word as of a refused request

Work = Callable[[OnProgress, threading.Event], str]
"""Does the work, reports progress, ends early when the event is set; returns a note for people."""


class Operations:
    """Runs long work two at a time and keeps its record in the store.

    Invariants: an operation leaves RUNNING exactly once; whatever was RUNNING when the controller died is INTERRUPTED.
    """

    def __init__(self, store: Store, clock: Clock, events: Events, parallel: int = 2) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._futures: set[Future[None]] = set()
        self._pool = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="operation")

    def start(self, kind: str, subject: str, work: Work) -> Operation:
        """Queue ``work`` and return at once."""
        operation = Operation(
            operation_id=new_id("op"),
            kind=kind,
            subject=subject,
            state=OperationState.RUNNING,
            progress_ratio=0.0,
            note="waiting for its turn",
            reason="",
            created_at_ns=self._clock.now_ns(),
        )
        self._store.put_operation(operation)
        hit("operation: on record")
        future = self._pool.submit(self._run, operation, work)
        with self._lock:
            self._futures.add(future)
        future.add_done_callback(self._forget)
        return operation

    def get(self, operation_id: str) -> Operation:
        return self._store.get_operation(operation_id)

    def list(self, cursor: str = "", limit: int = 100) -> Page[Operation]:
        return self._store.list_operations(cursor, limit)

    def is_any_running(self) -> bool:
        operations = every(lambda cursor: self._store.list_operations(cursor, 500))
        return any(operation.state is OperationState.RUNNING for operation in operations)

    def wait_idle(self, timeout_s: float = 60.0) -> None:
        """Return when nothing that was started here runs any more."""
        with self._lock:
            futures = tuple(self._futures)
        wait(futures, timeout_s)

    def recover(self) -> None:
        """At start: nothing can be running yet."""
        for operation in every(lambda cursor: self._store.list_operations(cursor, 500)):
            if operation.state is OperationState.RUNNING:
                self._finish(operation, OperationState.INTERRUPTED, "the controller stopped; start it again")

    def close(self) -> None:
        """End running work and wait for it."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._futures.discard(future)

    def _run(self, operation: Operation, work: Work) -> None:
        try:
            note = work(lambda ratio, note: self._progress(operation, ratio, note), self._stop)
            self._finish(operation, OperationState.SUCCEEDED, "", note)
        except InterruptedError:
            self._finish(operation, OperationState.INTERRUPTED, "the controller stopped; start it again")
        except MusterError as error:
            failure = MISSING_EXTRA if isinstance(error, MissingExtraError) else ""
            self._finish(operation, OperationState.FAILED, str(error), failure=failure)
        except Exception as error:  # noqa: BLE001  a loop's top: the pool would swallow it
            _log.exception("operation %s failed", operation.operation_id)
            self._finish(operation, OperationState.FAILED, f"unexpected {type(error).__name__}: {error}"[:500])

    def _progress(self, operation: Operation, ratio: float, note: str) -> None:
        current = self._store.get_operation(operation.operation_id)
        bounded = min(1.0, max(current.progress_ratio, ratio))
        self._store.put_operation(replace(current, progress_ratio=bounded, note=note[:300]))

    def _finish(
        self, operation: Operation, state: OperationState, reason: str, note: str = "", failure: str = ""
    ) -> None:
        current = self._store.get_operation(operation.operation_id)
        done = state is OperationState.SUCCEEDED
        self._store.put_operation(
            replace(
                current,
                state=state,
                reason=reason[:1000],
                note=note or current.note,
                progress_ratio=1.0 if done else current.progress_ratio,
                finished_at_ns=self._clock.now_ns(),
                failure=failure,
            )
        )
        details = {"operation": operation.operation_id, "subject": operation.subject}
        self._events.record(f"{operation.kind}.{state.value}", reason=reason[:300], details=details)
