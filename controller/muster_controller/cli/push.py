"""muster push"""

from __future__ import annotations

from typing import Annotated

import typer

from muster.connection import Json
from muster.waiting import WaitTimeoutError
from muster_controller.cli.options import DeviceNames, Labels, Output, Timeout, VariantNames, Wait, chosen, fleet
from muster_controller.cli.output import emit, parse_pairs
from muster_controller.cli.waiting import with_meter

COLUMNS = {
    "DEVICE": "device_id",
    "VARIANT": "variant_id",
    "STATE": "state",
    "FETCHED": "fetched_bytes",
    "SIZE": "size_bytes",
    "REASON": "reason",
}


def register(app: typer.Typer) -> None:
    app.command("push")(push)


def push(
    model: Annotated[str, typer.Argument(help="name or name:version")],
    device: DeviceNames = None,
    label: Labels = None,
    variant: VariantNames = None,
    wait: Wait = True,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """Put variants into device caches, verified there. Nothing is activated; that is what rollout does."""
    with fleet() as found:
        pushed = found.push(model, device or "all", variant or (), parse_pairs(label or [], "a label"))
        form = chosen(output)
        if wait:
            try:
                with_meter(f"push {model}", lambda show: pushed.wait(timeout, lambda rows: show(*_progress(rows))))
            except WaitTimeoutError:
                emit(pushed.status(), form, COLUMNS, heads=2)  # what it waits for
                raise
        rows = pushed.status()
    emit(rows, form, COLUMNS, heads=2)


def _progress(rows: list[Json]) -> tuple[float, str]:
    done = sum(row["fetched_bytes"] for row in rows)
    size = sum(row["size_bytes"] for row in rows)
    verified = sum(row["state"] == "verified" for row in rows)
    waiting = next((f"; {row['device_id']}: {row['reason']}" for row in rows if row["reason"]), "")
    return done / max(size, 1), f"{verified}/{len(rows)} verified{waiting}"
