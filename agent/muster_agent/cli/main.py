"""Arguments, errors and exit codes of ``muster-agent``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from muster_protos.errors import MusterError

INTERRUPTED = 130
_COLUMNS = 80  # where nobody says how wide it is
LEVELS = ("debug", "info", "warning", "error")


def run_command(arguments: Sequence[str]) -> int:
    """Parse and do; returns the exit code. Errors are one line on stderr, ``--debug`` adds the trace."""
    options = build_parser().parse_args(arguments)
    _start_logging(options.log_level or _default_level(options.command))
    try:
        module = import_module(f"muster_agent.cli.{options.command}")
        return int(module.do(options))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # the reader went away: nothing more to say to it
        return 0
    except MusterError as error:
        if options.debug:
            traceback.print_exc()
        print(f"muster-agent: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  the outermost loop: a user sees one line, --debug the trace
        if options.debug:
            traceback.print_exc()
        line = " ".join(str(error).split())
        print(f"muster-agent: unexpected {type(error).__name__}: {line} (--debug shows the trace)", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    shared = _Parser(add_help=False)
    shared.add_argument("--state", type=Path, default=None, metavar="DIR", help="state folder [MUSTER_STATE]")
    shared.add_argument("--log-level", choices=LEVELS, help="[MUSTER_LOG_LEVEL]")
    shared.add_argument("--debug", action="store_true", help="show the trace of an error")

    parser = _Parser(prog="muster-agent", description="Muster's agent on a device.")
    parser.add_argument("--version", action=_Version, nargs=0, help="say it")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    join = commands.add_parser("join", parents=[shared], help="join a fleet with the line that `muster up` printed")
    join.add_argument("link", metavar="LINK", help="https://HOST:8472#MST1.<secret>.<fingerprint>, or mqtts://...")
    join.add_argument("--id", default="", dest="device_id", help="the id to ask for; default: the host's name")
    join.add_argument("--secret-stdin", action="store_true", help="LINK has no secret; it comes on standard input")

    run = commands.add_parser("run", parents=[shared], help="run the agent until it is stopped")
    run.add_argument("--profile", default="", help="be an emulated device: phone, pi or jetson")
    run.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="URL",
        help="use this instead of what the join named: grpcs://HOST:PORT or mqtts://HOST:PORT; repeat it for the next",
    )
    run.add_argument(
        "--broker-ca", type=Path, default=None, metavar="FILE", help="CA of the broker, where not the fleet's"
    )
    run.add_argument("--door", default="", help="where to renew an expired certificate: https://HOST:PORT")
    run.add_argument("--no-cgroup", action="store_true", help="emulate by a declared slowdown even with control groups")
    run.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a label of the inventory, for people; those that `muster ... -l` selects by are set with "
        "`muster device tag` on the controller",
    )

    leave = commands.add_parser("leave", parents=[shared], help="forget the fleet: identity, state and artifacts")
    leave.add_argument("--yes", action="store_true", help="do not ask")

    probe = commands.add_parser("probe", parents=[shared], help="what this device is and can do")
    probe.add_argument("-o", "--output", choices=("table", "json"), default="table")

    status = commands.add_parser("status", parents=[shared], help="what this device serves and what is the matter")
    status.add_argument("-o", "--output", choices=("table", "json"), default="table")

    doctor = commands.add_parser("doctor", parents=[shared], help="find what is wrong, with a fix for each")
    doctor.add_argument("-o", "--output", choices=("table", "json"), default="table")
    doctor.add_argument("--link", default="", help="controller to look for instead of the joined one")

    install = commands.add_parser("install", parents=[shared], help="start the agent with the machine")
    install.add_argument("--systemd", action="store_true", required=True, help="as a systemd unit")
    install.add_argument("--write", action="store_true", help="write the unit instead of printing it")
    return parser


class _Parser(argparse.ArgumentParser):
    """Its commands are of this class too."""

    def __init__(self, **named: Any) -> None:
        super().__init__(formatter_class=_Formatter, **named)


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal. By itself it asks ``shutil``, which loads bzip2 and LZMA, for each option declared."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    text = os.environ.get("COLUMNS", "")
    if text.isdecimal() and 0 < int(text) < 10_000:
        return int(text)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _COLUMNS
    except (OSError, ValueError, AttributeError):  # no terminal, closed, or none at all
        return _COLUMNS


class _Version(argparse.Action):
    """Say the version and end; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from muster_agent.version import agent_version

        print(f"muster-agent {agent_version()}")
        parser.exit()


class _UtcFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z info muster_agent.daemon: text``."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
        text = f"{stamp} {record.levelname.lower()} {record.name.removeprefix('muster_agent.')}: {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _start_logging(level: str) -> None:
    channel = logging.StreamHandler(sys.stderr)
    channel.setFormatter(_UtcFormatter())
    root = logging.getLogger()
    root.handlers[:] = [channel]
    root.setLevel(level.upper())


def _default_level(command: str) -> str:
    level = os.environ.get("MUSTER_LOG_LEVEL", "").lower()
    if level in LEVELS:
        return level
    return "info" if command == "run" else "warning"
