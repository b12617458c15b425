"""The hostile-input check before anything here opens a model file."""

from __future__ import annotations

from pathlib import Path

from muster_bench.check import Verdict, check_model
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format


def checked_format(path: Path, shown_name: str) -> Format:
    """The file's format when ``muster_bench.check`` accepts it.

    Raises:
        InvalidInputError: it was rejected, or nothing here executes it; with the check's reason.
    """
    check = check_model(path)
    if check.verdict is not Verdict.ACCEPTED:
        raise InvalidInputError(f"{shown_name}: {check.verdict.value}: {check.reason}")
    return Format(check.format)
