"""The passphrase of a backup: from a file, or asked at the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from muster_protos.errors import NotFoundError, UsageError

_SHORTEST = 8


def read_passphrase(file: Path | None, *, is_new: bool) -> str:
    """From the file, else asked at the terminal.

    Raises:
        UsageError: nobody can be asked, or a new one is too short.
    """
    if file is not None:
        passphrase = _first_line(file)
    elif not sys.stdin.isatty():
        raise UsageError("expected --passphrase-file where nobody can be asked (or, for export, --without-identity)")
    else:
        passphrase = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=is_new, err=True))
    if is_new and len(passphrase) < _SHORTEST:
        raise UsageError(f"expected a passphrase of at least {_SHORTEST} characters, found {len(passphrase)}")
    return passphrase


def _first_line(file: Path) -> str:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"expected a passphrase in {file}, found no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"expected a passphrase in {file}, found a file that cannot be read as text") from error
    return text.split("\n", 1)[0].rstrip("\r")
