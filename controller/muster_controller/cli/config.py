"""muster config get | set | unset | path | show"""

from __future__ import annotations

from typing import Annotated

import typer

from muster.settings import KEYS, check_timeout, read_config, user_config_path, write_config
from muster_controller.cli.options import Output, chosen, settings
from muster_controller.cli.output import emit, err, out
from muster_controller.service.nearest import unknown
from muster_protos.errors import UsageError

app = typer.Typer(help="Where the controller is and how to talk to it.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help=", ".join(KEYS))]


@app.command("get")
def get(key: Key) -> None:
    """Print the winning value of a key; a secret stays hidden."""
    _check(key)
    out().print(settings()[key].shown, markup=False)


@app.command("set")
def set_(key: Key, value: str) -> None:
    """Keep a value in the user configuration (readable by you only)."""
    _check(key)
    if key == "timeout_s":
        check_timeout(value)
    if key == "output" and value not in ("table", "json", "jsonl", "csv"):
        raise UsageError(f"expected an output of table, json, jsonl or csv, found {value!r}")
    path = user_config_path()
    write_config(path, {**read_config(path), key: value})
    err().print(f"{key} is set in {path}", markup=False)


@app.command("unset")
def unset(key: Key) -> None:
    """Forget a value of the user configuration."""
    _check(key)
    path = user_config_path()
    write_config(path, {name: value for name, value in read_config(path).items() if name != key})


@app.command("path")
def path() -> None:
    """Print where the user configuration is kept."""
    out().print(str(user_config_path()), markup=False)


@app.command("show")
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Also where each value comes from.")] = False,
    output: Output = None,
) -> None:
    """Show every key: flag > environment (MUSTER_*) > ./muster.yaml > user configuration > default."""
    rows = [{"key": s.key, "value": s.shown, **({"origin": s.origin} if origin else {})} for s in settings().values()]
    columns = {"KEY": "key", "VALUE": "value"} | ({"ORIGIN": "origin"} if origin else {})
    emit(rows, chosen(output), columns)


def _check(key: str) -> None:
    if key not in KEYS:
        raise unknown("setting", key, KEYS)
