"""Loads that devices put on themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from muster.connection import Connection
from muster.view import View
from muster.waiting import wait_for
from muster_protos.errors import PermanentError


class LoadView(View):
    """A load as it was when it was asked for."""

    @property
    def state(self) -> str:
        return str(self.fields["state"])

    @property
    def result(self) -> Mapping[str, Any] | None:
        result: Mapping[str, Any] | None = self.fields["result"]
        return result


class Load:
    """A handle on a load; letting go of it does not stop it."""

    def __init__(self, connection: Connection, load_id: str) -> None:
        self._connection = connection
        self.load_id = load_id
        self.url = f"{connection.url}/v1/loads/{load_id}"

    def view(self) -> LoadView:
        return LoadView(self._connection.get(f"/v1/loads/{self.load_id}"))

    def result(
        self,
        timeout_s: float | None = None,
        on_change: Callable[[LoadView], None] | None = None,
        on_look: Callable[[LoadView], None] | None = None,
    ) -> LoadView:
        """Wait for what came back; ``on_look`` sees every look, about once a second.

        Raises:
            PermanentError: the device could not run it; the message says why.
            WaitTimeoutError: ``timeout_s`` went by; it goes on.
        """

        def look() -> LoadView:
            view = self.view()
            if on_look is not None:
                on_look(view)
            return view

        view = wait_for(look, lambda view: view.state != "open", self.load_id, timeout_s, on_change)
        if view.state != "done":
            raise PermanentError(f"load {self.load_id} {view.state}: {view.fields['reason']}")
        return view
