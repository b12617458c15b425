"""muster load"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from muster.loads import LoadView
from muster_controller.cli.durations import parse_duration_s
from muster_controller.cli.load_watch import LoadWatch
from muster_controller.cli.options import Output, Timeout, Wait, chosen, fleet
from muster_controller.cli.output import emit_one, milliseconds
from muster_controller.cli.waiting import announce, meter_of

COLUMNS = {
    "load": "load_id",
    "device": "device_id",
    "state": "state",
    "offered": "offered",
    "answered": "answered",
    "failed": "failed",
    "shed": "shed",
    "slo missed": "slo_missed",
    "slo missed ratio": "slo_missed_ratio",
    "p50 ms": "p50_ms",
    "p95 ms": "p95_ms",
    "p99 ms": "p99_ms",
    "answered by": "answered_by",
    "emulated": "emulated",
    "reason": "reason",
}


def register(app: typer.Typer) -> None:
    app.command("load")(load)


def load(
    device: Annotated[str, typer.Argument(help="A device id or name.")],
    model: Annotated[str, typer.Option(help="Send requests to this served model.")] = "",
    rate: Annotated[float, typer.Option(help="Requests per second (Poisson arrivals).")] = 0.0,
    concurrency: Annotated[
        int, typer.Option(help="Instead of a rate: so many requests always under way; finds the capacity.")
    ] = 0,
    cpu: Annotated[float, typer.Option(help="Also keep this share of the cores busy, percent.")] = 0.0,
    for_: Annotated[str, typer.Option("--for", help="How long.")] = "60s",
    seed: Annotated[int, typer.Option(help="The arrivals repeat with the same seed.")] = 0,
    wait: Wait = True,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """Load a device and see it fall back: each move with its reason while it runs, then the figures."""
    if model and (rate > 0) == (concurrency > 0):
        raise typer.BadParameter("expected --rate or --concurrency above 0 with --model", param_hint="--rate")
    seconds = parse_duration_s(for_)
    with fleet() as found:
        reference = found.models.get(model) if model else ""
        newest = found.connection.get("/v1/events", newest=True, limit=1)["items"]
        started = found.load(
            device, reference, cpu / 100, seed, rate_hz=rate, concurrency=concurrency, duration_s=seconds
        )
        announce(started.load_id, started.url)
        if wait:
            with meter_of(started.load_id) as bar:
                after = int(newest[-1]["sequence"]) if newest else 0
                watch = LoadWatch(found, started, seconds, after, bar.show, bar.say)
                view = started.result(timeout, on_look=watch.look)
        else:
            view = started.view()
    emit_one(_row(view), chosen(output), COLUMNS)


def _row(view: LoadView) -> dict[str, Any]:
    result = view.result or {}
    offered = result.get("offered")
    return {
        **view.fields,
        **{key: result.get(key) for key in ("offered", "answered", "failed", "shed", "slo_missed", "answered_by")},
        **{f"{name}_ms": milliseconds(result.get(f"{name}_ns")) for name in ("p50", "p95", "p99")},
        "slo_missed_ratio": result["slo_missed"] / offered if offered else None,
        "emulated": (result.get("emulation") or {}).get("profile", ""),
        "reason": view.fields["reason"] or result.get("reason", ""),
    }
