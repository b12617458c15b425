"""muster demo"""

from __future__ import annotations

import typer

from muster_controller.cli.options import Output, chosen


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(output: Output = None) -> None:
    """Run the whole loop here, with three emulated devices: compress, push, measure, choose, serve, fall back."""
    from muster_controller.demo.play import play

    raise typer.Exit(play(chosen(output).value))
