"""`make test` cannot pass over a failure: the verdict of scripts/run_tests.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def run_tests() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "run_tests.py"
    spec = importlib.util.spec_from_file_location("run_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("codes", "outcomes", "expected"),
    [
        ((0, 0), ("passed", "rerun", "skipped"), 0),
        ((1, 0), ("failed",), 1),
        ((0, 1), ("failed",), 1),
        ((-9, 0), ("passed",), 9),
        ((0, -11), ("passed",), 11),
        ((124,), ("cut",), 124),
        ((0, 0), ("passed", "failed"), 1),
        ((0, 0), ("cut",), 1),
    ],
)
def test_verdict_is_good_only_when_both_runs_and_every_test_were(
    run_tests: ModuleType, codes: tuple[int, ...], outcomes: tuple[str, ...], expected: int
) -> None:
    found = [run_tests.Outcome(f"tests/unit/test_{number}.py::test", word, 0.1) for number, word in enumerate(outcomes)]
    assert run_tests.verdict(codes, found) == expected


def test_every_folder_of_tests_is_run(run_tests: ModuleType) -> None:
    there = {path.name for path in (run_tests.ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"}
    assert there == set(run_tests.FOLDERS)
