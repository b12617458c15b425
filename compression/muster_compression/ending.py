"""SIGTERM ends a command as Ctrl-C does: what is half-made is cleaned up on the way out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class TerminatedError(BaseException):
    """The process was asked to end."""


@contextlib.contextmanager
def ending_cleanly() -> Iterator[None]:
    """SIGTERM raises ``TerminatedError`` inside; only the main thread can be told so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not break into the cleaning up
    raise TerminatedError
