"""muster watch: the fleet, live."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from muster.connection import Json
from muster.fleet import Fleet
from muster_controller.cli.events import line
from muster_controller.cli.layout import Cell, harmless, lines_of
from muster_controller.cli.options import fleet
from muster_controller.cli.output import milliseconds, out, shown
from muster_protos.errors import MusterError

_TITLES = ("DEVICE", "STATE", "MODEL", "RUNG", "P95 MS", "REQ/S", "SLO MISSED", "CPU", "°C")
_EVENTS_SHOWN = 12
_TELEMETRY_WINDOW_S = 30
_REFRESH_S = 1.0


def register(app: typer.Typer) -> None:
    app.command("watch")(watch)


def watch() -> None:
    """Show devices, what they serve and what happens, until Ctrl-C. In a pipe: events as lines."""
    with fleet() as found:
        if not sys.stdout.isatty():
            for event in found.events(follow=True):
                print(line(event.fields), flush=True)
            return
        recent: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        newest = found.connection.get("/v1/events", newest=True, limit=_EVENTS_SHOWN)["items"]
        recent.extend(line(event) for event in newest)
        after = int(newest[-1]["sequence"]) if newest else 0
        follower = threading.Thread(target=_follow, args=(found, after, recent), daemon=True)
        follower.start()
        with Live(_picture(found, recent), console=out(), auto_refresh=False) as live:
            while follower.is_alive():
                follower.join(_REFRESH_S)
                live.update(_picture(found, recent), refresh=True)


def _follow(found: Fleet, after: int, recent: deque[str]) -> None:
    """Collect lines until the stream ends; the picture says then what is wrong."""
    try:
        for name, fields in found.connection.stream("/v1/events/stream", after=str(after)):
            recent.append(line(fields) if name == "fleet" else _progress_line(fields))
    except MusterError as error:
        recent.append(str(error))


def _picture(found: Fleet, recent: deque[str]) -> Group:
    rows = [
        [Cell((harmless(text),)) for text in _cells(found, device.fields, serving)]
        for device in found.devices.list()
        for serving in (device.fields["reported"] or {}).get("serving") or [{}]
    ]
    lines = lines_of(_TITLES, rows, out().width)
    table = [Text(line.text, style="bold" if line.is_head else "") for line in lines]
    return Group(*table, Text(), Text(harmless("\n".join(tuple(recent))), style="dim"))


def _cells(found: Fleet, device: Json, serving: Json) -> list[str]:
    model = serving.get("model_id", "")
    since_ns = time.time_ns() - _TELEMETRY_WINDOW_S * 10**9
    samples = found.connection.get(
        f"/v1/devices/{device['device_id']}/telemetry", since_ns=str(since_ns), model=model, limit=1000
    )["items"]
    last: Json = samples[-1] if samples else {}
    emulated = device["inventory"]["emulation"]
    name = device["device_id"] + (f" ({emulated['profile']}, emulated)" if emulated else "")
    figures = (
        milliseconds(last.get("p95_ns")),
        last.get("requests_per_s"),
        last.get("slo_missed_ratio"),
        last.get("cpu_ratio"),
        last.get("temperature_celsius"),
    )
    return [name, device["presence"], model or "-", serving.get("active_variant_id") or "-", *map(shown, figures)]


def _progress_line(fields: Json) -> str:
    share = f"{fields['done'] / fields['total']:.0%}" if fields["total"] else ""
    return f"{fields['device_id']}  {fields['subject']}  {share}  {fields['note']}"
