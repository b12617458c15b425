"""Whose fault a failure inside a foreign library is: the model's, or the machine's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from muster_protos.errors import MusterError

_REASON_CHARACTERS = 300
_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "bad allocation")
"""How torch's and ONNX Runtime's allocators word it: they raise a plain RuntimeError."""


def one_line(error: BaseException) -> str:
    """A foreign error's words, short."""
    return " ".join(str(error).split())[:_REASON_CHARACTERS]


@contextlib.contextmanager
def blaming_the_model(
    kind: type[MusterError], said: str, reason: Callable[[BaseException], str] = one_line
) -> Iterator[None]:
    """Whatever a library raises becomes one line, ``<said>: <reason>``; errors of Muster's own pass as they are.

    Raises:
        MemoryError, OSError: the machine is at fault (no memory, a full disk), also where the library wrapped it; the
            same step may work another time.
        MusterError: of ``kind``, for everything else.
    """
    try:
        yield
    except MusterError:
        raise
    except Exception as error:
        fault = _of_the_machine(error)
        if fault is error:
            raise
        if fault is not None:
            raise fault from error
        raise kind(f"{said}: {reason(error)}") from error


def _of_the_machine(error: BaseException) -> BaseException | None:
    """The error of the operating system among ``error`` and what it was raised from.

    One without a number is a library's own: ``inspect`` says so of a source that it cannot find.
    """
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, MemoryError) or (isinstance(current, OSError) and current.errno is not None):
            return current
        if isinstance(current, RuntimeError) and any(words in str(current) for words in _NO_MEMORY):
            return MemoryError(one_line(current))
        current = current.__cause__
    return None
