"""Which source files a piece of code depends on: whoever changes one need not remember to clear a cache."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_PACKAGE_FOLDER = Path(__file__).parent


@functools.cache
def pass_code_sha256(module: str) -> str:
    """Of ``passes/<module>.py`` and every file of this package that it imports, directly or not."""
    path = _PACKAGE_FOLDER / "passes" / f"{module}.py"
    return _sha256(imported_files(path, _PACKAGE_FOLDER.parent), _PACKAGE_FOLDER)


def source_sha256(path: Path, module: nn.Module) -> str:
    """Of a user's file, of the files of the module's classes, and of what all of them import from beside themselves.

    Beside is the file's own folder, for a class inside a package the folder that the package lies in. An installed
    distribution counts by its name and version, torch not at all: its version is part of a key anyway.
    """
    folder = path.resolve().parent
    files = set(imported_files(path.resolve(), folder))
    versions: set[str] = set()
    for item in {type(part) for part in module.modules()}:
        file = _file_of(item)
        if file is None or item.__module__.partition(".")[0] == "torch":
            continue
        installed = _distributions(item.__module__.partition(".")[0]) if _is_installed(file) else ()
        versions.update(installed)
        if not installed:
            files |= imported_files(file, _import_folder(file, item.__module__))
    return hashlib.sha256("\n".join([_sha256(files, folder), *sorted(versions)]).encode()).hexdigest()


def imported_files(path: Path, folder: Path) -> frozenset[Path]:
    """``path`` and every file below ``folder`` that it imports, directly or not.

    Imports inside functions count, those for type checkers do not.
    """
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        for level, name in _imports(_tree(current)):
            base = current.parents[level - 1] if level else folder
            waiting += _files_of(name, base)
    return frozenset(found)


def _file_of(item: type) -> Path | None:
    """None for classes that no file defines."""
    try:
        name = inspect.getsourcefile(item)
    except (TypeError, OSError):
        return None
    return None if name is None else Path(name).resolve()


def _is_installed(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(path.parts))


@functools.cache
def _distributions(package: str) -> tuple[str, ...]:
    """``name version`` of whatever installed it; none for files that were only put there."""
    names = importlib.metadata.packages_distributions().get(package, ())
    return tuple(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))


def _import_folder(path: Path, module: str) -> Path:
    """Where the imports of ``path``, imported as ``module``, begin: beside the top package, else the file's folder."""
    parts = tuple(module.split("."))
    base = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return base.parents[len(parts) - 1] if base.parts[-len(parts) :] == parts else path.parent


def _tree(path: Path) -> ast.AST:
    """What is no Python imports nothing; whether it may be is found out by whoever runs it."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Level (0 = absolute) and dotted name; ``from a import b`` names ``a`` and, if there is one, ``a.b``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((0, item.name) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = f"{node.module}." if node.module else ""
            yield node.level, node.module or ""
            yield from ((node.level, prefix + item.name) for item in node.names)
        yield from _imports(node)


def _files_of(name: str, base: Path) -> Iterator[Path]:
    """The files that importing a dotted name runs, as far as they lie below ``base``."""
    path = base
    for part in filter(None, name.split(".")):
        path = path / part
        yield from (item for item in (path.with_suffix(".py"), path / "__init__.py") if item.is_file())


def _sha256(files: Iterable[Path], folder: Path) -> str:
    """Of names below ``folder`` and contents: the same code in another place is the same."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(folder) if path.is_relative_to(folder) else path.name).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
