"""Waits of the command line: the id and a URL first, then progress; Ctrl-C stops waiting, not the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from muster.operation import Operation, OperationView
from muster_controller.cli.output import Format, emit_one, err
from muster_controller.cli.progress import Meter, meter

T = TypeVar("T")

OPERATION = {"id": "operation_id", "kind": "kind", "subject": "subject", "state": "state", "note": "note"}


def announce(identity: str, url: str) -> None:
    err().print(f"{identity}  {url}", markup=False, style="dim")


def follow_operation(
    operation: Operation[Any], wait: bool, timeout_s: float | None, form: Format
) -> OperationView | None:
    """Wait for an operation with a bar: how it ended; with ``--no-wait`` print it and return None."""
    announce(operation.operation_id, operation.url)
    if not wait:
        emit_one(operation.view().fields, form, OPERATION)
        return None

    def work(show: Callable[[float, str], None]) -> None:
        def on_progress(view: OperationView) -> None:
            show(view.progress_ratio, view.note.partition("\n")[0])

        operation.result(timeout_s, on_progress)

    with_meter(operation.operation_id, work)
    return operation.view()


def with_meter(what: str, work: Callable[[Callable[[float, str], None]], T]) -> T:
    """Run ``work`` with a meter; on Ctrl-C say that the work goes on."""
    with meter_of(what) as bar:
        return work(bar.show)


@contextmanager
def meter_of(what: str) -> Iterator[Meter]:
    """A meter for work elsewhere; on Ctrl-C say that it goes on."""
    try:
        with meter(what) as bar:
            yield bar
    except KeyboardInterrupt:
        err().print(f"stopped waiting; {what} goes on", markup=False)
        raise
