"""Options that several commands share, and the connection that they lead to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from muster.fleet import Fleet, connection_of
from muster.settings import Setting, load_settings
from muster_controller.cli.output import Format
from muster_protos.errors import UsageError

Output = Annotated[
    Format | None, typer.Option("-o", "--output", help="How to write data to standard output.", show_default="table")
]
Labels = Annotated[list[str] | None, typer.Option("-l", "--label", help="Only devices with this key=value.")]
DeviceNames = Annotated[
    list[str] | None, typer.Option("-d", "--device", help='Device id or name, repeatable; "all" is every device.')
]
VariantNames = Annotated[list[str] | None, typer.Option("--variant", help="Variant name or id, repeatable.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end. Ctrl-C stops waiting, not the work.")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Seconds to wait before giving up (exit 9).")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_flags: dict[str, str | None] = {}


def set_flags(url: str | None, token: str | None, data: Path | None) -> None:
    """Remember the options in front of the command for this invocation."""
    _flags.update({"url": url, "token": token, "data": None if data is None else str(data)})


def settings() -> dict[str, Setting]:
    return load_settings(_flags)


def data_folder() -> Path:
    """The controller's data folder on this machine."""
    return Path(settings()["data"].value).expanduser()


def chosen(output: Format | None) -> Format:
    """``-o``, else MUSTER_OUTPUT or the configuration."""
    if output is not None:
        return output
    text = settings()["output"].value
    for known in Format:
        if known.value == text:
            return known
    raise UsageError(f"expected an output of {', '.join(f.value for f in Format)}, found {text!r}")


def confirm(question: str, is_yes: bool) -> None:
    """Ask before something that cannot be taken back; typer.Abort (exit 130) when the answer is no.

    Raises:
        UsageError: nobody can be asked, and ``--yes`` was not given.
    """
    if is_yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} expected --yes where nobody can be asked")
    typer.confirm(question, abort=True, err=True)


@contextmanager
def fleet() -> Iterator[Fleet]:
    """The fleet that flags, environment and configuration point at."""
    with Fleet(connection_of(settings())) as opened:
        yield opened
