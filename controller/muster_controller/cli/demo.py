"""muster demo"""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from muster_controller.cli.options import Output, chosen
from muster_controller.cli.output import Format, emit, emit_one, err
from muster_devices.pressure import read_pressure
from muster_protos.errors import PermanentError

COLUMNS = {
    "DEVICE": "id",
    "PROFILE": "profile",
    "LINK": "link",
    "CHOSEN": "chosen",
    "LADDER": "ladder",
    "P95 MS": "p95_ms",
    "FAILED": "failed",
    "SHED": "shed",
    "SLO MISSED": "slo_missed_ratio",
    "LARGEST ALONE": "slo_missed_ratio_largest_rung",
    "RECOVERED": "recovered",
}


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep controller, devices and logs in this folder.")] = None,
    output: Output = None,
) -> None:
    """Run the whole loop here, with three emulated devices: compress, push, measure, choose, serve, fall back."""
    form = chosen(output)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        _play(keep, form, keep)
        return
    with tempfile.TemporaryDirectory(prefix="muster-demo-") as folder:
        _play(Path(folder), form)


def _play(folder: Path, form: Format, kept: Path | None = None) -> None:
    from muster_controller.demo.cast import ACTORS
    from muster_controller.demo.frame import busy_line, next_steps
    from muster_controller.demo.outcome import shortcomings
    from muster_controller.demo.play import play
    from muster_controller.demo.screen import Screen
    from muster_controller.demo.stage import Stage

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: nothing stays behind
    screen = Screen([actor.device_id for actor in ACTORS])
    busy = busy_line(read_pressure())
    if busy:
        err().print(busy, markup=False, style="yellow")
    with Stage(folder) as stage, screen.shown():
        outcomes = play(stage, screen)
    rows = [outcome.as_json() for outcome in outcomes]
    if form in (Format.JSON, Format.JSONL):
        emit_one({"devices": rows}, form, COLUMNS)
    else:
        emit(rows, form, COLUMNS, heads=2)
    found = shortcomings(outcomes)
    for line in found:
        err().print(line, markup=False, style="red")
    err().print("\n".join(["", *next_steps(kept)]), markup=False)
    if found:
        why = f"; {busy}" if busy else ""
        raise PermanentError(f"the demo did not show what it promises: {len(found)} shortcoming(s){why}")
