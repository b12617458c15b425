"""muster status"""

from __future__ import annotations

import typer

from muster_controller.cli.options import Output, chosen, fleet
from muster_controller.cli.output import Format, emit, emit_one, out

COLUMNS = {
    "fleet": "name",
    "version": "version",
    "devices": "devices",
    "online": "online",
    "models": "models",
    "open benchmarks": "open_benchmarks",
    "running rollouts": "running_rollouts",
    "running operations": "running_operations",
    "broker": "broker",
    "broker's problem": "broker_problem",
}
SERVING = {
    "DEVICE": "device_id",
    "STATE": "presence",
    "LINK": "link",
    "EMULATED": "inventory.emulation.profile",
    "MODEL": "model_id",
    "RUNG": "active_variant_id",
    "DEPLOYMENT": "state",
    "HTTP": "http_port",
    "GRPC": "grpc_port",
    "REASON": "reason",
}


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(output: Output = None) -> None:
    """Sum the fleet up: numbers, and what each device serves."""
    form = chosen(output)
    with fleet() as found:
        summary = found.status()
        devices = [device.fields for device in found.devices.list()]
    rows = [
        {**device, **serving} for device in devices for serving in (device["reported"] or {}).get("serving") or [{}]
    ]
    if form in (Format.JSON, Format.JSONL):
        emit_one({**summary, "serving": rows}, form, COLUMNS)
        return
    if form is Format.CSV:  # one table only: a row per device, or per model that it serves
        emit([{**row, "fleet": summary["name"]} for row in rows], form, {"FLEET": "fleet", **SERVING})
        return
    emit_one(summary, form, COLUMNS)
    if rows:
        out().print()
        emit(rows, form, SERVING)
