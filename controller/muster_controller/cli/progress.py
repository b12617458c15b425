"""Progress on standard error: a bar on a terminal, a line now and then elsewhere, never in the data."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from muster_controller.cli.layout import harmless, wrapped
from muster_controller.cli.output import err

_QUIET_S = 5.0  # between two lines that are no news of importance
_STILL_S = 15.0  # then a line says that it goes on, although nothing has changed
_LOOK_S = 1.0


class Meter:
    """One running thing."""

    def __init__(self, what: str, bar: Progress | None) -> None:
        self._what = what
        self._bar = bar
        self._row = None if bar is None else bar.add_task(what, total=1.0, note="")
        self._ratio = 0.0
        self._lock = threading.Lock()  # a ticker prints, too
        self._began_s = time.monotonic()
        self._now: tuple[float, str] | None = None  # what was shown last
        self._printed: tuple[float, str] = (0.0, "")  # when, and with which note

    def say(self, text: str) -> None:
        """A lasting line: above the bar on a terminal, broken at spaces when it is too long for it."""
        if self._bar is None:
            err().print(text, markup=False)
        else:
            console = self._bar.console
            console.print(wrapped(text, console.width, indent=4), markup=False, soft_wrap=True)

    def show(self, ratio: float, note: str = "") -> None:
        """``ratio`` in 0..1; what goes back, since its next part is counted anew, stays where it was."""
        self._ratio = ratio = max(ratio, self._ratio)
        note = harmless(" ".join(note.split()))  # devices write reasons
        if self._bar is not None and self._row is not None:
            self._bar.update(self._row, completed=min(1.0, ratio), note=note[:60])
            return
        with self._lock:
            self._now = (ratio, note)
        self.tick()

    def tick(self) -> None:
        """Without a terminal: print what is new, not too often, and what is not, now and then."""
        now_s = time.monotonic()
        with self._lock:
            if self._now is None:
                return
            (ratio, note), (printed_s, printed) = self._now, self._printed
            since_s = now_s - printed_s
            if since_s < (_QUIET_S if note != printed else _STILL_S):
                return
            self._printed = (now_s, note)
        still = f" ({now_s - self._began_s:.0f} s)" if note == printed else ""
        err().print(f"{self._what}: {ratio:.0%} {note}{still}", style="dim", markup=False)


@contextmanager
def meter(what: str) -> Iterator[Meter]:
    """A bar with an ETA while the block runs."""
    if not sys.stderr.isatty():
        with _ticking(Meter(what, None)) as plain:
            yield plain
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=err(), transient=True) as bar:
        yield Meter(what, bar)


@contextmanager
def _ticking(plain: Meter) -> Iterator[Meter]:
    """Have it look at itself: work that says nothing for minutes is still going on."""
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_S):
            plain.tick()

    ticker = threading.Thread(target=look, name="meter", daemon=True)
    ticker.start()
    try:
        yield plain
    finally:
        is_over.set()
        ticker.join()
