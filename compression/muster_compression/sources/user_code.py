"""Functions of a user's own Python files: models, data, metrics. They run only in a child process."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from muster_protos.errors import InvalidInputError, MusterError, NotFoundError

_REASON_CHARACTERS = 300


def load_function(path: Path, function: str) -> Callable[..., Any]:
    """The function of that name; its file is run once per process, whatever is asked of it.

    Raises:
        NotFoundError: there is no such file or function.
        InvalidInputError: running the file fails.
    """
    if not path.is_file():
        raise NotFoundError(f"no file {path}; expected a Python file with a function {function!r}")
    loaded = _module(path, f"{path.name}:{function}")
    found = getattr(loaded, function, None)
    if not callable(found):
        have = [key for key, value in vars(loaded).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise NotFoundError(f"{path.name} has no function {function!r}; it has {', '.join(have) or 'none'}")
    called: Callable[..., Any] = found
    return called


@contextlib.contextmanager
def users_code(name: str) -> Iterator[None]:
    """Whatever a user's own code raises becomes one line; the trace goes to standard error."""
    try:
        yield
    except MusterError:
        raise
    except (Exception, SystemExit) as error:
        import traceback

        traceback.print_exc()
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS]
        raise InvalidInputError(f"{name} failed: {type(error).__name__}: {reason}") from error


def _module(path: Path, name: str) -> ModuleType:
    """A model, its data and its metric may stand in one file: their classes are the same ones then.

    A second file of the same name (a student's) gets a name of its own, so that the classes of both are found again.
    """
    module_name = f"muster_source_{path.stem}"
    if module_name in sys.modules and not _is_of(module_name, path):
        module_name += f"_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    if _is_of(module_name, path):
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InvalidInputError(f"{path.name}: expected a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = loaded
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with users_code(name):
            spec.loader.exec_module(loaded)
    except MusterError:
        del sys.modules[module_name]
        raise
    return loaded


def _is_of(module_name: str, path: Path) -> bool:
    known = sys.modules.get(module_name)
    return known is not None and known.__file__ is not None and Path(known.__file__).resolve() == path.resolve()
