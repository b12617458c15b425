"""What runs on devices runs on Python 3.10: its syntax, and none of the names that came later.

Source of the names: the "What's New" pages of Python 3.11 to 3.14.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

_FOLDERS = ("agent", "api", "devices", "protos")
_MODULES = {
    "annotationlib",
    "compression",
    "concurrent.interpreters",
    "dbm.sqlite3",
    "importlib.resources.abc",
    "pathlib.types",
    "string.templatelib",
    "tomllib",
    "wsgiref.types",
}
_NAMES = {
    "ast": {"TryStar"},
    "asyncio": {
        "Barrier",
        "BrokenBarrierError",
        "QueueShutDown",
        "Runner",
        "TaskGroup",
        "create_eager_task_factory",
        "eager_task_factory",
        "timeout",
        "timeout_at",
    },
    "calendar": {"Day", "Month"},
    "collections.abc": {"Buffer"},
    "concurrent.futures": {"InterpreterPoolExecutor"},
    "contextlib": {"chdir"},
    "copy": {"replace"},
    "datetime": {"UTC"},
    "enum": {
        "CONFORM",
        "CONTINUOUS",
        "EJECT",
        "EnumCheck",
        "EnumDict",
        "EnumType",
        "FlagBoundary",
        "KEEP",
        "NAMED_FLAGS",
        "ReprEnum",
        "STRICT",
        "StrEnum",
        "UNIQUE",
        "global_enum",
        "member",
        "nonmember",
        "property",
        "show_flag_values",
        "verify",
    },
    "functools": {"Placeholder"},
    "glob": {"translate"},
    "hashlib": {"file_digest"},
    "heapq": {"heapify_max", "heappop_max", "heappush_max", "heappushpop_max", "heapreplace_max"},
    "http": {"HTTPMethod"},
    "inspect": {"BufferFlags", "getasyncgenstate", "getmembers_static", "markcoroutinefunction"},
    "io": {"Reader", "Writer"},
    "itertools": {"batched"},
    "logging": {"getHandlerByName", "getHandlerNames", "getLevelNamesMapping"},
    "math": {"cbrt", "exp2", "fma", "sumprod"},
    "operator": {"call", "is_none", "is_not_none"},
    "os": {"PIDFD_NONBLOCK", "listdrives", "listmounts", "process_cpu_count", "setns", "unshare"},
    "os.path": {"ALLOW_MISSING", "isdevdrive", "isjunction", "isreserved", "splitroot"},
    "pathlib": {"UnsupportedOperation"},
    "queue": {"ShutDown"},
    "random": {"binomialvariate"},
    "re": {"NOFLAG", "PatternError"},
    "sqlite3": {"Blob", "LEGACY_TRANSACTION_CONTROL"},
    "statistics": {"kde", "kde_random"},
    "sys": {"activate_stack_trampoline", "exception", "monitoring"},
    "threading": {"gettrace_all_threads", "setprofile_all_threads", "settrace_all_threads"},
    "types": {"CapsuleType", "get_original_bases"},
    "typing": {
        "LiteralString",
        "Never",
        "NoDefault",
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
        "evaluate_forward_ref",
        "get_overloads",
        "get_protocol_members",
        "is_protocol",
        "override",
        "reveal_type",
    },
    "uuid": {"uuid6", "uuid7", "uuid8"},
    "warnings": {"deprecated"},
}
_BUILTINS = {"BaseExceptionGroup", "ExceptionGroup", "PythonFinalizationError"}
_METHODS = {"add_note", "blobopen", "full_match", "is_junction", "move_into", "copy_into", "uncancel"}
_KEYWORDS = {
    "all_errors",
    "case_sensitive",
    "delete_on_close",
    "onexc",
    "process_group",
    "walk_up",
    "weakref_slot",
}


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
        "from typing import Self",
        "from typing import override",
        "import asyncio\nasyncio.timeout(1)",
        "import os\nos.path.splitroot('/')",
        "import os.path\nos.path.isjunction('/')",
        "from os.path import isjunction",
        "from collections.abc import Buffer",
        "import importlib.resources.abc",
        "shutil.rmtree(path, onexc=print)",
        "@dataclass(weakref_slot=True)\nclass A: ...",
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
                first = alias.name.partition(".")[0]
                aliases[alias.asname or first] = alias.name if alias.asname else first
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
            module = _module(node.value, aliases)
            if node.attr in _NAMES.get(module or "", ()):
                yield node.lineno, f"{module}.{node.attr}"
            elif node.attr in _METHODS:
                yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Name) and node.id in _BUILTINS:
            yield node.lineno, node.id
        elif isinstance(node, ast.keyword) and node.arg in _KEYWORDS:
            yield node.value.lineno, f"{node.arg}="
        elif isinstance(node, getattr(ast, "TryStar", ())):
            yield node.lineno, "except*"


def _module(expression: ast.expr, aliases: Mapping[str, str]) -> str | None:
    """The module that an expression such as ``os.path`` names; None when it names none."""
    match expression:
        case ast.Name(id=name):
            return aliases.get(name)
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in aliases:
            return f"{aliases[name]}.{attr}"
        case _:
            return None
