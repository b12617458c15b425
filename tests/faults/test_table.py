"""The page of promises and faults names tests that exist, and each long fault suite is on it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("fault_table", ROOT / "scripts" / "fault_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_names_a_test_and_every_test_exists(table):
    rows = table.read_rows()
    assert len(rows) > 30
    missing = [
        f"{row.fault}: {file}::{name}"
        for row in rows
        for file, name in row.tests or (("no test", ""),)
        if not (ROOT / file).is_file() or name not in functions_of(ROOT / file)
    ]
    assert missing == []


def test_every_promise_is_held_by_a_fault(table):
    named = " ".join(row.promise for row in table.read_rows()).replace("I1-I7", "I1 I2 I3 I4 I5 I6 I7")
    assert [promise for promise in ("I1", "I2", "I3", "I4", "I5", "I6", "I7") if promise not in named] == []


def test_every_long_fault_suite_is_on_the_page(table):
    named = {file for row in table.read_rows() for file, _ in row.tests}
    suites = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.faults" in path.read_text() and path.name != Path(__file__).name
    }
    assert suites - named == set()
