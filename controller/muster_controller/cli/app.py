"""The command tree and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from muster_controller.cli import (
    backup,
    bench,
    compress,
    config,
    demo,
    device,
    doctor,
    events,
    join,
    key,
    load,
    model,
    push,
    rollout,
    select,
    status,
    token,
    up,
    watch,
)
from muster_controller.cli.options import set_flags
from muster_controller.cli.output import err
from muster_controller.service.version import product_version
from muster_protos.errors import MusterError

app = typer.Typer(
    name="muster",
    help="Compress, push, benchmark, choose and serve models on a fleet of edge devices.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _part in (up, demo, join, compress, push, select, watch, events, load, status, doctor, backup):
    _part.register(app)
for _name, _group in (
    ("device", device),
    ("token", token),
    ("key", key),
    ("model", model),
    ("bench", bench),
    ("rollout", rollout),
    ("config", config),
):
    app.add_typer(_group.app, name=_name)


# The base of every usage error; typer may carry its own copy of click, so it is found, not imported.
_UsageError = cast(
    "type[typer.BadParameter]", next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
)

_FRONT_OPTIONS = ("--url", "--token")
_FRONT_FLAGS = ("--debug", "-v", "-vv", "--verbose")


def _version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"muster {product_version()}")
        raise typer.Exit


@app.callback()
def _root(
    url: Annotated[str | None, typer.Option(help="The controller's REST address. [MUSTER_URL]")] = None,
    token_: Annotated[str | None, typer.Option("--token", help="The admin token. [MUSTER_TOKEN]")] = None,
    data: Annotated[Path | None, typer.Option(help="The controller's data folder here. [MUSTER_DATA]")] = None,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="More logs; twice for debug.")] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Debug logs and traces of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")] = False,
) -> None:
    del version
    set_flags(url, token_, data)
    level = logging.DEBUG if debug or verbose > 1 else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for chatty in ("httpx", "httpcore", "alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def run(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code of docs/exit-codes.md."""
    arguments = hoisted(sys.argv[1:] if arguments is None else arguments)
    try:
        return app(arguments, prog_name="muster", standalone_mode=False) or 0
    except MusterError as error:
        _show(str(error), arguments)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        err().print("interrupted", style="dim")
        return 130
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # `muster ... | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (for the interpreter's own flush at exit)
        return 0
    except _UsageError as error:
        error.show()
        return error.exit_code
    except Exception as error:  # noqa: BLE001  the outermost loop: a user sees one line, --debug the trace
        _show(f"unexpected {type(error).__name__}: {error} (--debug shows the trace)", arguments)
        return 1


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Options that belong in front of the command, moved there from wherever they were typed."""
    front: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    if any(word in ("join", "leave") for word in left):
        return left
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        if word in _FRONT_FLAGS or word.startswith(tuple(f"{name}=" for name in _FRONT_OPTIONS)):
            front.append(word)
        elif word in _FRONT_OPTIONS and left:
            front += [word, left.pop(0)]
        else:
            rest.append(word)
    return front + rest


def _show(message: str, arguments: list[str]) -> None:
    if "--debug" in arguments:
        traceback.print_exc()
    err().print(f"muster: {message}", markup=False, style="red")
