"""How the story is told: a live table on a terminal, plain lines elsewhere. Everything goes to standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from muster_controller.demo.outcome import DeviceOutcome


class Screen:
    """Steps with their time, and a line per device that changes while things happen."""

    def __init__(self, devices: Sequence[str]) -> None:
        self._console = Console(stderr=True)
        self._lines = dict.fromkeys(devices, "")
        self._step = ""
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[Screen]:
        """Draw while the block runs."""
        if not self._console.is_terminal:
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
        self._step = title
        started = time.monotonic()
        self._draw()
        if self._live is None:
            self._console.print(f"... {title}", highlight=False)
        yield
        self._console.print(
            Text.assemble(("  ✓ ", "green"), title, (f"  {time.monotonic() - started:.1f} s", "dim")), highlight=False
        )

    def note(self, text: str) -> None:
        """A lasting line below the act."""
        self._console.print(Text(f"      {text}", "dim"), highlight=False)

    def device(self, device_id: str, text: str) -> None:
        """What this device does now."""
        if self._lines.get(device_id) == text:
            return
        self._lines[device_id] = text
        if self._live is None and text:
            self._console.print(f"      {device_id}: {text}", highlight=False)
        self._draw()

    def progress(self, text: str) -> None:
        """What the host does now."""
        for device_id in self._lines:
            self._lines[device_id] = self._lines[device_id] if self._live else ""
        self._step = f"{self._step.split(' · ')[0]} · {text}"
        self._draw()

    def summary(self, devices: Sequence[DeviceOutcome], slo_ms: float) -> None:
        """The table at the end."""
        table = Table(title=f"Emulated devices, same policy, same kind of load, SLO {slo_ms:g} ms")
        for title in ("device", "chosen", "rungs", "p95 ms", "moves", "failed", "refused", "missed", "largest alone"):
            table.add_column(title, justify="left" if title in ("device", "chosen") else "right")
        for device in devices:
            replay, alone = device.fallback, device.largest_alone
            table.add_row(
                f"{device.device_id} (emulated {device.profile})",
                device.chosen,
                str(len(device.ladder)),
                _number(replay.p95_ms if replay else None),
                " ".join("↓" if switch.direction == "down" else "↑" for switch in device.switches),
                str(replay.failed) if replay else "-",
                str(replay.shed) if replay else "-",
                _percent(replay.slo_missed_ratio if replay else None),
                _percent(alone.slo_missed_ratio if alone else None),
            )
        self._console.print(table)

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._picture())

    def _picture(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        for device_id, line in self._lines.items():
            grid.add_row(Text(f"      {device_id}", "cyan"), Text(line, overflow="ellipsis", no_wrap=True))
        return Group(Spinner("dots", text=self._step), grid)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"
