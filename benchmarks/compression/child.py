"""Run a module of this benchmark in a process of its own: one request as JSON on stdin, its answer on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from muster_protos.errors import PermanentError

ROOT = Path(__file__).parents[2]
"""Where ``-m benchmarks.compression`` is found."""
_LAST_WORDS = 400  # characters


def run_child(module: str, request: object, wall_s: float, what: str) -> str:
    """What ``benchmarks.compression.<module>`` prints.

    Raises:
        PermanentError: it died, with its last words, or took longer than ``wall_s``; ``what`` was asked of it.
    """
    try:
        found = subprocess.run(
            [sys.executable, "-m", f"benchmarks.compression.{module}"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=wall_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PermanentError(f"{what} took longer than {wall_s / 60:.0f} min and was ended") from error
    if found.returncode != 0:
        raise PermanentError(f"{what} failed: {' '.join(found.stderr.split())[-_LAST_WORDS:]}")
    return found.stdout
