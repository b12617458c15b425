"""Progress without a terminal: what is new comes out, not too often, and silent work is said to go on."""

from __future__ import annotations

import pytest

from muster_controller.cli import load_watch, progress
from muster_controller.cli.progress import Meter, meter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    return now_s


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_first_word_is_said_at_once_and_a_soon_one_a_little_later(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Meter("export", None)
    plain.show(0.0, "reading")
    clock[0] += 1
    plain.show(0.05, "calling digits.py:make")
    assert printed(capsys) == ["export: 0% reading"]
    clock[0] += 5
    plain.tick()
    assert printed(capsys) == ["export: 5% calling digits.py:make"]


def test_work_that_says_nothing_for_long_is_said_to_go_on(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Meter("export", None)
    plain.tick()
    plain.show(0.05, "calling digits.py:make")
    for _ in range(40):
        clock[0] += 1
        plain.tick()
    assert printed(capsys) == [
        "export: 5% calling digits.py:make",
        "export: 5% calling digits.py:make (15 s)",
        "export: 5% calling digits.py:make (30 s)",
    ]


def test_what_was_done_is_never_undone(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    plain = Meter("run-1", None)
    plain.show(0.11, "576 queries")
    clock[0] += 6
    plain.show(0.0, "evaluating accuracy")
    assert printed(capsys) == ["run-1: 11% 576 queries", "run-1: 11% evaluating accuracy"]


def test_the_ticker_ends_with_the_block(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_LOOK_S", 0.01)
    monkeypatch.setattr(progress, "_STILL_S", 0.02)
    heard: list[str] = []
    with meter("push") as plain:
        plain.show(0.5, "fetching")
        while not any("fetching (" in line for line in heard):
            heard += printed(capsys)
    assert not [thread for thread in progress.threading.enumerate() if thread.name == "meter"]


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ({"presence": "offline", "reported": None}, "offline; it starts the load when it is back"),
        ({"presence": "online", "reported": None}, "about to start"),
        ({"presence": "online", "reported": {"benchmarks": [{"phase": "finished"}]}}, "about to start"),
        (
            {"presence": "online", "reported": {"benchmarks": [{"phase": "running"}]}},
            "measuring; it starts the load when that benchmark has ended",
        ),
    ],
)
def test_a_load_that_has_not_begun_says_what_it_waits_for(device: dict[str, object], said: str) -> None:
    assert load_watch._before(device) == said
