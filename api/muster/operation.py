"""Long work on the controller's host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from muster.connection import Connection
from muster.view import View
from muster.waiting import wait_for
from muster_protos.errors import MissingExtraError, PermanentError

T = TypeVar("T")

DROPPED = "dropped: "
NOT_MADE = "not made: "  # how such a line of a finished operation's note begins


class OperationView(View):
    """How far it is."""

    @property
    def state(self) -> str:
        return str(self.fields["state"])

    @property
    def progress_ratio(self) -> float:
        return float(self.fields["progress_ratio"])

    @property
    def note(self) -> str:
        return str(self.fields["note"])

    @property
    def remarks(self) -> tuple[str, ...]:
        """The lines after a finished operation's first: what was dropped or not made, and why, and notes."""
        return () if self.state == "running" else tuple(self.note.splitlines()[1:])

    @property
    def not_made(self) -> tuple[str, ...]:
        """What was asked for and could not be made, each with its reason."""
        return tuple(line.removeprefix(NOT_MADE) for line in self.remarks if line.startswith(NOT_MADE))

    @property
    def judged(self) -> tuple[str, ...]:
        """The names of the variants that a finished ``compress`` made and judged, kept or dropped."""
        first = "" if self.state == "running" else self.note.partition("\n")[0]
        return tuple(part.split(" ")[0] for part in first.split(", ") if part)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was made and is under the floor, each with its figures and the reason."""
        return tuple(line.removeprefix(DROPPED) for line in self.remarks if line.startswith(DROPPED))

    @property
    def is_done(self) -> bool:
        return self.state != "running"


class Operation(Generic[T]):
    """A handle on running work; letting go of it does not stop the work."""

    def __init__(self, connection: Connection, fields: View, collect: Callable[[OperationView], T]) -> None:
        self._connection = connection
        self._collect = collect
        self.operation_id = str(fields.fields["operation_id"])
        self.url = f"{connection.url}/v1/operations/{self.operation_id}"

    def view(self) -> OperationView:
        return OperationView(self._connection.get(f"/v1/operations/{self.operation_id}"))

    def result(self, timeout_s: float | None = None, on_progress: Callable[[OperationView], None] | None = None) -> T:
        """Wait for what it makes.

        Raises:
            MissingExtraError: the controller lacks an optional part for it.
            PermanentError: it failed or was interrupted; the message says why.
            WaitTimeoutError: ``timeout_s`` went by; it goes on.
        """
        done = wait_for(self.view, lambda view: view.is_done, self.operation_id, timeout_s, on_progress)
        if done.state != "succeeded":
            kind = MissingExtraError if done.fields.get("failure") == "missing_extra" else PermanentError
            raise kind(str(done.fields["reason"]) or f"{self.operation_id} {done.state}")
        return self._collect(done)
