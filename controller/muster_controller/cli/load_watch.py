"""A load while it runs: how far it is, which rung serves it, and each move along the ladder with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable

from muster.connection import Json
from muster.fleet import Fleet
from muster.loads import Load, LoadView
from muster_controller.cli.events import line
from muster_controller.cli.output import milliseconds

_OWN = frozenset({"load.requested", "load.finished", "load.failed"})  # what the command itself says
_WINDOW_S = 5


class LoadWatch:
    """Looks at a device about once a second while ``load`` runs there."""

    def __init__(
        self,
        fleet: Fleet,
        load: Load,
        seconds: float,
        after: int,
        show: Callable[[float, str], None],
        say: Callable[[str], None],
    ) -> None:
        """``after``: the sequence of the last event before the load; ``show`` gets progress, ``say`` lasting lines."""
        self._fleet = fleet
        self._load = load
        self._seconds = seconds
        self._after = after
        self._show = show
        self._say = say
        self._started_s: float | None = None

    def look(self, view: LoadView) -> None:
        """Say what is new."""
        device_id = str(view.fields["device_id"])
        self._events(device_id)
        if view.state != "open":
            return
        device = self._fleet.connection.get(f"/v1/devices/{device_id}")
        if self._started_s is None and not self._is_running(device):
            self._show(0.0, f"{device_id} is {_before(device)}")
            return
        if self._started_s is None:
            self._started_s = time.monotonic()
        passed_s = min(time.monotonic() - self._started_s, self._seconds)
        served = self._served(device_id, str(view.fields["request"]["model_id"]))
        self._show(passed_s / self._seconds, f"{passed_s:.0f} of {self._seconds:g} s{served}")

    def _events(self, device_id: str) -> None:
        for event in self._fleet.connection.items("/v1/events", after=self._after, device=device_id):
            self._after = int(event["sequence"])
            if event["kind"] not in _OWN:
                self._say(line(event))

    def _is_running(self, device: Json) -> bool:
        loads = (device["reported"] or {}).get("loads", ())
        return any(item["request_id"] == self._load.load_id and item["phase"] == "running" for item in loads)

    def _served(self, device_id: str, model_id: str) -> str:
        """What the newest sample says of the model; "" without one."""
        if not model_id:
            return ""
        since_ns = time.time_ns() - _WINDOW_S * 10**9
        query = {"since_ns": str(since_ns), "model": model_id, "limit": 100}
        samples = self._fleet.connection.get(f"/v1/devices/{device_id}/telemetry", **query)["items"]
        if not samples:
            return ""
        newest: Json = samples[-1]
        parts = [str(newest["variant_id"]).rpartition(".")[2]]
        if newest["requests_per_s"] is not None:
            parts.append(f"{newest['requests_per_s']:.0f} req/s")
        p95_ms = milliseconds(newest["p95_ns"])
        if p95_ms is not None:
            parts.append(f"p95 {p95_ms:.3g} ms")
        return "  " + "  ".join(parts)


def _before(device: Json) -> str:
    """Why the load has not begun."""
    if device["presence"] != "online":
        return "offline; it starts the load when it is back"
    benchmarks = (device["reported"] or {}).get("benchmarks", ())
    if any(item["phase"] == "running" for item in benchmarks):
        return "measuring; it starts the load when that benchmark has ended"
    return "about to start"
