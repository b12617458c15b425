"""muster key ls | rotate"""

from __future__ import annotations

from typing import Annotated

import typer

from muster_controller.cli.durations import parse_duration_s
from muster_controller.cli.options import Output, Yes, chosen, confirm, fleet
from muster_controller.cli.output import emit, err

app = typer.Typer(help="The fleet's signing keys.", no_args_is_help=True)

COLUMNS = {
    "KEY": "key_id",
    "SIGNS": "is_signing",
    "COUNTS UNTIL": "retires_at_ns",
    "OVER": "is_retired",
    "SET": "key_set_version",
}


@app.command("ls")
def ls(output: Output = None) -> None:
    """List the keys that devices trust, the one that signs today first."""
    with fleet() as found:
        emit(found.keys(), chosen(output), COLUMNS)


@app.command("rotate")
def rotate(
    overlap: Annotated[
        str, typer.Option(help="How long the old key counts beside the new one; 0 = not at all.")
    ] = "30d",
    yes: Yes = False,
    output: Output = None,
) -> None:
    """Make a new signing key. Everything is signed again, and devices follow by the old key's word."""
    overlap_s = 0.0 if overlap.strip() in ("0", "0s", "0d") else parse_duration_s(overlap)
    confirm("sign everything with a new key from now on?", yes)
    with fleet() as found:
        keys = found.rotate_key(overlap_s)
    emit(keys, chosen(output), COLUMNS)
    err().print("devices follow as they connect; back up the controller's identity folder again", style="dim")
