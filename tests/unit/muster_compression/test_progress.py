import io
import threading

import pytest

from muster_compression.progress import Progress, duration, time_left


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("ratio", "elapsed_s", "text"),
    [(0.5, 60, "60 s"), (0.1, 60, "9 min"), (0.1, 3600, "9.0 h"), (0.5, 1, ""), (0.001, 60, ""), (1.0, 60, "")],
)
def test_the_time_left_follows_from_the_time_so_far(ratio, elapsed_s, text):
    assert time_left(ratio, elapsed_s) == text


def test_a_shorter_line_leaves_nothing_of_the_longer_one():
    now = [0.0]
    terminal = Terminal()
    progress = Progress(terminal, lambda: now[0])
    report = progress.part(0.5, 0.5)
    now[0] = 30.0
    report(0.5, "a long note")
    progress.show(0.9, "b")
    progress.end()
    first, second, last = terminal.getvalue().split("\r")[1:4]
    assert first == " 75% (about 10 s left) a long note"
    assert second.rstrip() == " 90% (about 3 s left) b"
    assert len(second) == len(first)
    assert last.strip() == ""


def test_a_line_every_30_s_is_written_where_nobody_watches():
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(stream, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        if second < 50:  # a step that is silent from then on
            progress.show(0.01 * second, f"step {second}")
        progress.say_if_due()
    progress.end()
    assert stream.getvalue().splitlines() == [
        " 30% (about 70 s left) step 30",
        " 49% (about 62 s left) step 49",
        " 49% (about 2 min left) step 49",
    ]


def test_the_lines_come_by_themselves(monkeypatch):
    monkeypatch.setattr("muster_compression.progress._PAUSE_S", 0.0)
    monkeypatch.setattr("muster_compression.progress._LOOK_S", 0.01)
    stream = Told()
    with Progress(stream) as progress:
        progress.show(0.5, "note")
        assert stream.told.wait(10)
    assert " 50% note" in stream.getvalue()


class Told(io.StringIO):
    """Says when something was written."""

    def __init__(self):
        super().__init__()
        self.told = threading.Event()

    def write(self, text):
        written = super().write(text)
        if "note" in text:
            self.told.set()
        return written


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_have_about_two_digits(seconds, text):
    assert duration(seconds) == text
