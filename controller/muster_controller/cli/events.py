"""muster events"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from typing import Annotated

import typer

from muster_controller.cli.layout import wrapped
from muster_controller.cli.options import Output, chosen, fleet
from muster_controller.cli.output import Format, Row, emit, err, iso_time, out, terminal_width
from muster_protos.errors import UsageError

COLUMNS = {
    "TIME": "at_ns",
    "KIND": "kind",
    "DEVICE": "device_id",
    "MODEL": "model_id",
    "FROM": "from_variant_id",
    "TO": "to_variant_id",
    "DIRECTION": "direction",
    "MS": "duration_ms",
    "REASON": "reason",
    "DETAILS": "details",
}

REJECTED = {
    "TIME": "received_at_ns",
    "DEVICE": "device_id",
    "WHAT": "what",
    "REQUEST": "request_id",
    "ATTEMPT": "attempt",
    "SEQUENCE": "sequence",
    "REASON": "rejected_reason",
}


def register(app: typer.Typer) -> None:
    app.command("events")(events)


def events(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens from now on.")] = False,
    device: Annotated[str, typer.Option("-d", "--device", help="Only this device.")] = "",
    kind: Annotated[str, typer.Option(help="Only this kind, e.g. rung.changed.")] = "",
    limit: Annotated[int, typer.Option(help="The last so many.")] = 50,
    rejected: Annotated[bool, typer.Option("--rejected", help="Reports that were not believed, and why.")] = False,
    output: Output = None,
) -> None:
    """Show what happened, oldest first."""
    form = chosen(output)
    if rejected and (follow or kind):
        raise UsageError("expected --rejected without --follow and --kind: it lists reports, found both")
    if limit < 1:
        raise UsageError(f"expected a limit of 1 or more, found {limit}")
    with fleet() as found:
        if rejected:
            reports = found.connection.items("/v1/reports", rejected=True, device=device)
            emit(list(deque(reports, maxlen=limit)), form, REJECTED, "no report was rejected", heads=3)
            return
        device_id = found.devices.get(device).id if device else ""
        past = list(found.connection.get("/v1/events", newest=True, device=device_id, kind=kind, limit=limit)["items"])
        if not follow:
            emit(past, form, COLUMNS, "nothing has happened yet", heads=3)
            return
        last = int(past[-1]["sequence"]) if past else 0
        _write(past, form)
        err().print("following; Ctrl-C to stop", style="dim")
        for event in found.events(follow=True, after=last, device=device_id, kind=kind):
            _write([event.fields], form)


def line(event: Row) -> str:
    """One event as one line for people."""
    parts = [iso_time(event["at_ns"]), f"{event['kind']:24}", event["device_id"] or "controller"]
    if event["model_id"]:
        parts.append(event["model_id"])
    if event["from_variant_id"] or event["to_variant_id"]:
        parts.append(f"{event['from_variant_id'] or '-'} -> {event['to_variant_id'] or '-'}")
    if event["direction"]:
        parts.append(event["direction"])
    if event["duration_ms"] is not None:
        parts.append(f"{event['duration_ms']:.3g} ms")
    if event["reason"]:
        parts.append(f"({event['reason']})")
    return "  ".join(parts)


def _write(found: Iterable[Row], form: Format) -> None:
    """As they come: lines for people, JSON lines or CSV rows for programs."""
    for event in found:
        if form is Format.TABLE:
            out().print(wrapped(line(event), terminal_width(), indent=4), markup=False, soft_wrap=True)
        else:
            emit([event], Format.JSONL if form is Format.JSON else form, COLUMNS)
    sys.stdout.flush()
