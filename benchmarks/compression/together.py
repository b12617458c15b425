"""Train and compress several tasks at once, each in a process of its own on one core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.compression.whole import Asked, parts_of


def make_together(asked: Asked, arguments: Sequence[str]) -> None:
    """Fill the cache for every task that was asked for, the longest first; what fails is found again when measuring.

    Args:
        arguments: of the command line that was given; each process gets them with one task.
    """
    tasks = sorted(asked.tasks, key=lambda name: -_planned_s(asked, name))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, code in zip(tasks, pool.map(lambda name: _make(name, arguments), tasks), strict=True):
            if code:
                print(f"{name}: not everything could be made (exit {code})", file=sys.stderr)


def _make(name: str, arguments: Sequence[str]) -> int:
    """On one thread, so that as many tasks as cores do not wait for each other."""
    command = [sys.executable, "-m", "benchmarks.compression", *_without_tasks(arguments), "--task", name]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--only-make"], env={**os.environ, **threads}, stdout=subprocess.DEVNULL, check=False
    )
    return done.returncode


def _without_tasks(arguments: Sequence[str]) -> list[str]:
    """Both spellings of the option."""
    kept: list[str] = []
    skips = False
    for item in arguments:
        if not skips and item != "--task" and not item.startswith("--task="):
            kept.append(item)
        skips = item == "--task"
    return kept


def _planned_s(asked: Asked, name: str) -> float:
    return sum(part.planned_s for part in parts_of(asked) if part.name.startswith(f"{name}/"))
