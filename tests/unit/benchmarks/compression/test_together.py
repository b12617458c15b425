from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.compression import together
from benchmarks.compression.together import make_together
from benchmarks.compression.whole import Asked


def test_each_task_gets_a_process_on_one_thread_and_the_options_that_were_given(monkeypatch):
    commands: list[list[str]] = []

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        assert env["OMP_NUM_THREADS"] == "1"
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(together.subprocess, "run", run)
    asked = Asked(Path("data"), Path("cache"), tasks=("mnist", "cifar10"))
    make_together(asked, ["--data-folder", "data", "--task", "mnist", "--task=cifar10", "--seed", "3"])
    rest = ["--data-folder", "data", "--seed", "3"]
    assert sorted(commands) == sorted([*rest, "--task", name, "--only-make"] for name in ("mnist", "cifar10"))


def test_a_task_that_fails_is_told_and_ends_nothing(monkeypatch, capsys):
    monkeypatch.setattr(together.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    make_together(Asked(Path("data"), Path("cache"), tasks=("mnist",)), [])
    assert "mnist: not everything could be made" in capsys.readouterr().err
