import io

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


def test_nothing_is_written_where_nobody_watches():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.show(0.5, "note")
    progress.end()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_have_about_two_digits(seconds, text):
    assert duration(seconds) == text
