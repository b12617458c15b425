"""The demo is never silent for long, warns on a busy machine, and ends with what to try next."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from rich.console import Console

from muster_controller.demo.frame import busy_line, next_steps
from muster_controller.demo.screen import QUIET_S, Screen
from muster_devices.pressure import PressureReading


class Page(io.StringIO):
    """Text that says when a word stands on it."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word
        self.found = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._word in self.getvalue():
            self.found.set()
        return written


def test_in_a_pipe_a_long_step_gives_signs_of_life() -> None:
    page = Page("training · 40%")
    screen = Screen(["pi-1"], Console(file=page, width=40), quiet_s=0.05)
    with screen.shown(), screen.step("training"):
        screen.progress("40% epoch 4 of 10, which is a longer text than the forty columns of this console\nand more")
        assert page.found.wait(10)
    lines = page.getvalue().splitlines()
    assert lines[0] == "... training"
    assert lines[1].startswith("    training · 40% epoch 4 of 10, which is a longer text than the forty columns")
    assert lines[1].endswith(" s)")
    assert lines[-1].startswith("  ✓ training  ")
    assert not any("and more" in line for line in lines)
    assert QUIET_S < 10 * 8 / 9  # looked at eight times in that time: the longest silence is 9/8 of it


def test_nothing_is_repeated_while_lines_come_by_themselves() -> None:
    page = io.StringIO()
    screen = Screen(["pi-1"], Console(file=page), quiet_s=1000)
    with screen.shown(), screen.step("push"):
        screen.device("pi-1", "online")
        screen.device("pi-1", "online")
        screen.note("done")
    assert [line.strip().split("  ")[0] for line in page.getvalue().splitlines()] == [
        "... push",
        "pi-1: online",
        "done",
        "✓ push",
    ]


def test_a_busy_machine_is_said_in_one_line() -> None:
    assert "CPU pressure 35 %" in busy_line(PressureReading(cpu_percent=34.8))
    assert "\n" not in busy_line(PressureReading(cpu_percent=34.8))
    assert busy_line(PressureReading(cpu_percent=4.0)) == ""
    assert busy_line(PressureReading(unavailable_reason="no pressure information")) == ""


def test_the_next_steps_are_commands_that_exist() -> None:
    from typer.main import get_command

    from muster_controller.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    title, *steps = next_steps(Path("kept"))
    assert title == "What next"
    for step in steps:
        words = step.split("muster ")[1].split()
        assert words[0] in commands
    assert any("kept/controller" in step for step in steps)
    assert not any("kept" in step for step in next_steps(None))
