"""Waiting for the controller or a device to finish something, without hammering it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from muster_protos.errors import TemporaryError

T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0


class WaitTimeoutError(TemporaryError):
    """It was not done in time; it goes on without us."""

    exit_code = 9


def wait_for(
    ask: Callable[[], T],
    is_done: Callable[[T], bool],
    what: str,
    timeout_s: float | None = None,
    on_change: Callable[[T], None] | None = None,
) -> T:
    """Ask until it is done; ``on_change`` sees each answer that differs from the one before.

    Raises:
        WaitTimeoutError: ``timeout_s`` went by.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s, last = _FIRST_PAUSE_S, None
    while True:
        found = ask()
        if on_change is not None and found != last:
            on_change(found)
        last = found
        if is_done(found):
            return found
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitTimeoutError(f"{what} is not done after {timeout_s:g} s; it goes on, ask again later")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
