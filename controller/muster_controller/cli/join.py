"""muster join | leave: the agent's own commands, run as a process of its own."""

from __future__ import annotations

import subprocess
import sys

import typer

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    app.command("join", context_settings=_PASS_ON)(join)
    app.command("leave", context_settings=_PASS_ON)(leave)


def join(context: typer.Context) -> None:
    """Join this machine to a fleet: the same as `muster-agent join` (which devices have without this command)."""
    raise typer.Exit(_agent("join", context.args))


def leave(context: typer.Context) -> None:
    """Take this machine out of its fleet: the same as `muster-agent leave`."""
    raise typer.Exit(_agent("leave", context.args))


def _agent(verb: str, arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "muster_agent", verb, *arguments], check=False).returncode
