from __future__ import annotations

import io
import json
import threading

from muster_compression.answers import Answers


class Said(io.StringIO):
    """Tells when there are so many lines."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def flush(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def wait_for(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.lines()) >= count, 10)


def test_of_many_reports_the_first_and_the_newest_are_told():
    said = Said()
    answers = Answers(said, pause_s=0.5)
    for index in range(100):
        answers.progress(index / 200, f"sample {index}")
    assert said.wait_for(2)
    assert [line["note"] for line in said.lines()] == ["sample 0", "sample 99"]


def test_the_answer_is_the_last_word_whatever_waits():
    said = Said()
    answers = Answers(said, pause_s=0.05)
    answers.progress(0.0, "reading")
    answers.progress(0.1, "calling net.py:make")
    answers.end({"result": 1})
    answers._say_what_waits()
    assert said.lines() == [{"progress": 0.0, "note": "reading"}, {"result": 1}]


def test_the_end_of_all_is_told_at_once():
    said = Said()
    answers = Answers(said, pause_s=60.0)
    answers.progress(0.5, "half")
    answers.progress(1.5, "all")
    assert [line["progress"] for line in said.lines()] == [0.5, 1.0]
