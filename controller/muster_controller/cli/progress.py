"""Progress on standard error: a bar on a terminal, a line now and then elsewhere, never in the data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from muster_controller.cli.layout import wrapped
from muster_controller.cli.output import err

_QUIET_S = 5.0


class Meter:
    """One running thing."""

    def __init__(self, what: str, bar: Progress | None) -> None:
        self._what = what
        self._bar = bar
        self._row = None if bar is None else bar.add_task(what, total=1.0, note="")
        self._last: tuple[float, str] = (0.0, "")

    def say(self, text: str) -> None:
        """A lasting line: above the bar on a terminal, broken at spaces when it is too long for it."""
        if self._bar is None:
            err().print(text, markup=False)
        else:
            console = self._bar.console
            console.print(wrapped(text, console.width, indent=4), markup=False, soft_wrap=True)

    def show(self, ratio: float, note: str = "") -> None:
        """``ratio`` in 0..1."""
        if self._bar is not None and self._row is not None:
            self._bar.update(self._row, completed=min(1.0, ratio), note=note[:60])
            return
        now = time.monotonic()
        if note != self._last[1] and now - self._last[0] >= _QUIET_S:
            err().print(f"{self._what}: {ratio:.0%} {note}", style="dim")
            self._last = (now, note)


@contextmanager
def meter(what: str) -> Iterator[Meter]:
    """A bar with an ETA while the block runs."""
    if not sys.stderr.isatty():
        yield Meter(what, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=err(), transient=True) as bar:
        yield Meter(what, bar)
