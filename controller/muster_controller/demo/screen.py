"""How the story is told: a live table on a terminal, plain lines elsewhere. Everything goes to standard error.

Without a terminal nothing is silent for longer than ``quiet_s``: a thread repeats what is going on, and for how long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

QUIET_S = 8.0


class Screen:
    """Steps with their time, and a line per device that changes while things happen."""

    def __init__(self, devices: Sequence[str], console: Console | None = None, quiet_s: float = QUIET_S) -> None:
        self._console = console or Console(stderr=True, emoji=False)
        self._quiet_s = quiet_s
        self._lines = dict.fromkeys(devices, "")
        self._title = ""
        self._progress = ""
        self._began_s = self._said_s = time.monotonic()
        self._lock = threading.Lock()
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[Screen]:
        """Draw while the block runs."""
        if not self._console.is_terminal:
            with self._signs_of_life():
                yield self
            return
        with Live(self._picture(), console=self._console, refresh_per_second=8, transient=True) as live:
            self._live = live
            try:
                yield self
            finally:
                self._live = None

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One act; its title gets a tick and its time when it is over."""
        self._title, self._progress, self._began_s = title, "", time.monotonic()
        self._draw()
        if self._live is None:
            self._say(f"... {title}")
        yield
        self._say(Text.assemble(("  ✓ ", "green"), title, (f"  {time.monotonic() - self._began_s:.1f} s", "dim")))
        self._title = ""

    def note(self, text: str) -> None:
        """A lasting line below the act."""
        self._say(Text(f"      {text}", "dim"))

    def device(self, device_id: str, text: str) -> None:
        """What this device does now."""
        if self._lines.get(device_id) == text:
            return
        self._lines[device_id] = text
        if self._live is None and text:
            self._say(f"      {device_id}: {text}")
        self._draw()

    def progress(self, text: str) -> None:
        """What the host does now: shown at once on a terminal, elsewhere with the next sign of life."""
        self._progress = text.partition("\n")[0]
        self._draw()

    @contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        is_over = threading.Event()

        def tell() -> None:
            while not is_over.wait(self._quiet_s / 8):
                self._tell_if_quiet()

        thread = threading.Thread(target=tell, name="demo-signs-of-life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _tell_if_quiet(self) -> None:
        now_s = time.monotonic()
        if not self._title or now_s - self._said_s < self._quiet_s:
            return
        self._say(f"    {self._words()}  ({now_s - self._began_s:.0f} s)")

    def _words(self) -> str:
        """The step, and what the host last said of it."""
        return f"{self._title} · {self._progress}" if self._progress else self._title

    def _say(self, line: str | Text) -> None:
        with self._lock:
            self._said_s = time.monotonic()
            self._console.print(line, highlight=False, markup=False, soft_wrap=self._live is None)

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._picture())

    def _picture(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        for device_id, line in self._lines.items():
            grid.add_row(Text(f"      {device_id}", "cyan"), Text(line, overflow="ellipsis", no_wrap=True))
        return Group(Spinner("dots", text=self._words()), grid)
