"""What runs on devices runs on Python 3.10: its syntax, and none of the names that came later.

Source of the names: the "What's New" pages of Python 3.11 to 3.14.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDERS = ("agent", "api", "devices", "protos")
_MODULES = {"tomllib", "wsgiref.types", "compression", "annotationlib", "string.templatelib", "pathlib.types"}
_NAMES = {
    "ast": {"TryStar"},
    "asyncio": {"Barrier", "Runner", "TaskGroup", "QueueShutDown", "timeout", "timeout_at"},
    "contextlib": {"chdir"},
    "copy": {"replace"},
    "datetime": {"UTC"},
    "enum": {"EnumCheck", "EnumType", "FlagBoundary", "ReprEnum", "StrEnum", "member", "nonmember", "verify"},
    "functools": {"Placeholder"},
    "hashlib": {"file_digest"},
    "http": {"HTTPMethod"},
    "inspect": {"getmembers_static"},
    "itertools": {"batched"},
    "logging": {"getHandlerByName", "getHandlerNames", "getLevelNamesMapping"},
    "math": {"cbrt", "exp2", "fma", "sumprod"},
    "operator": {"call", "is_none", "is_not_none"},
    "os": {"listdrives", "process_cpu_count", "unshare", "setns", "PIDFD_NONBLOCK"},
    "queue": {"ShutDown"},
    "random": {"binomialvariate"},
    "sys": {"exception", "monitoring"},
    "threading": {"gettrace_all_threads", "setprofile_all_threads", "settrace_all_threads"},
    "types": {"get_original_bases"},
    "typing": {
        "LiteralString",
        "Never",
        "NotRequired",
        "ReadOnly",
        "Required",
        "Self",
        "TypeAliasType",
        "TypeIs",
        "TypeVarTuple",
        "Unpack",
        "assert_never",
        "assert_type",
        "clear_overloads",
        "dataclass_transform",
        "get_overloads",
        "override",
        "reveal_type",
    },
    "uuid": {"uuid6", "uuid7", "uuid8"},
    "warnings": {"deprecated"},
}
_BUILTINS = {"BaseExceptionGroup", "ExceptionGroup", "PythonFinalizationError"}
_METHODS = {"add_note", "blobopen", "full_match"}


def _sources(repository: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from sorted((repository / folder).rglob("*.py"))


def test_device_code_parses_as_python_310(repository):
    for path in _sources(repository):
        ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 10))


def test_device_code_uses_no_younger_name(repository):
    found = [
        f"{path.relative_to(repository)}:{line}: {what}"
        for path in _sources(repository)
        for line, what in younger_names(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import tomllib",
        "from compression import zstd",
        "from enum import StrEnum",
        "import enum\nclass A(enum.StrEnum): ...",
        "from datetime import UTC",
        "import datetime as dt\ndt.UTC",
        "import asyncio\nasyncio.TaskGroup()",
        "from typing import assert_never",
        "raise ExceptionGroup('x', [])",
        "error.add_note('x')",
        "f'{x!r:{'a'}}'",
        "try: ...\nexcept* ValueError: ...",
        "def f[T](x: T): ...",
        "type A = int",
    ],
)
def test_the_check_finds_what_is_too_young(source):
    try:
        ast.parse(source, feature_version=(3, 10))
    except SyntaxError:
        return
    assert list(younger_names(source))


def test_the_check_lets_the_rest_through():
    assert not list(younger_names("import typing, enum, datetime\nfrom enum import Enum\ndatetime.timezone.utc"))


def younger_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of everything that Python 3.10 does not have."""
    tree = ast.parse(source)
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name.partition(".")[0]] = alias.name
                if alias.name in _MODULES or alias.name.partition(".")[0] in _MODULES:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module in _MODULES or node.module.partition(".")[0] in _MODULES:
                yield node.lineno, node.module
            for alias in node.names:
                if alias.name in _NAMES.get(node.module, ()):
                    yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = aliases.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if node.attr in _NAMES.get(module or "", ()):
                yield node.lineno, f"{module}.{node.attr}"
            elif node.attr in _METHODS:
                yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Name) and node.id in _BUILTINS:
            yield node.lineno, node.id
        elif isinstance(node, getattr(ast, "TryStar", ())):
            yield node.lineno, "except*"
