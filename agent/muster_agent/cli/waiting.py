"""What a command is at while it takes its time, a line a step: at once on a terminal, else only after a while."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

_PATIENCE_S = 2.0


class Waiting:
    """A context manager; calling it begins the next step. Lines go to stderr: what a command answers is on stdout."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._timer: threading.Timer | None = None

    def __call__(self, step: str) -> None:
        """``step``: "asking HOST:8472 for the fleet's CA"."""
        self._forget()
        if sys.stderr.isatty():
            _say(step)
            return
        self._timer = threading.Timer(self._patience_s, _say, (step,))
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Waiting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # a line that is being written comes before what follows
            self._timer = None


def _say(step: str) -> None:
    print(f"{step} ...", file=sys.stderr, flush=True)
