from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compression import ask
from benchmarks.compression.ask import Memory
from benchmarks.compression.measure import Subject
from muster_protos.model import Format, Signature


def pair(cpu_percent: float | None) -> dict[str, Any]:
    ratios = {"first_ms": 2.0, "second_ms": 1.0, "ratio": 2.0, "ratio_low": 1.9, "ratio_high": 2.1, "rounds": 3}
    return {**ratios, "pressure": {"cpu_before": cpu_percent, "cpu_after": cpu_percent}}


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    found = []
    for name in ("teacher", "variant"):
        (tmp_path / name).write_bytes(name.encode())
        found.append(Subject(tmp_path / name, Format.ONNX, Signature()))
    (tmp_path / "samples").write_bytes(b"samples")
    return found


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], list[str]]:
    """Let the child say this; the list of what it was asked grows."""

    def say(answer: dict[str, Any]) -> list[str]:
        asked: list[str] = []
        monkeypatch.setattr(ask, "asked", lambda verb, *_: (asked.append(verb), answer)[1])
        return asked

    return say


def test_what_was_measured_on_a_quiet_machine_is_measured_once(subjects, answers, tmp_path):
    asked = answers(pair(2.0))
    memory = Memory(tmp_path / "memory")
    for _ in range(2):
        assert memory.pair(subjects[0], subjects[1], tmp_path / "samples").ratio == 2.0
    assert asked == ["pair"]


@pytest.mark.parametrize("pressure", [60.0, None])
def test_what_was_measured_on_a_busy_machine_or_nobody_knows_on_what_is_measured_again(
    subjects, answers, tmp_path, pressure
):
    asked = answers(pair(pressure))
    memory = Memory(tmp_path / "memory")
    for _ in range(2):
        assert memory.pair(subjects[0], subjects[1], tmp_path / "samples").is_noisy
    assert asked == ["pair", "pair"]


def test_other_bytes_and_other_samples_are_judged_anew(subjects, answers, tmp_path):
    asked = answers({"accuracy": {"n": 10, "metric": "accuracy", "value": 0.9}})
    memory = Memory(tmp_path / "memory")
    memory.judged(subjects[0], tmp_path / "samples")
    memory.judged(subjects[0], tmp_path / "samples")
    subjects[0].path.write_bytes(b"another model")
    memory.judged(subjects[0], tmp_path / "samples")
    (tmp_path / "samples").write_bytes(b"other samples")
    memory.judged(subjects[0], tmp_path / "samples")
    assert len(asked) == 3
