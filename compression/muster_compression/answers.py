"""What a child says: JSON lines on a descriptor of its own."""

from __future__ import annotations

import json
import threading
import time
from typing import IO

_SHORTEST_PAUSE_S = 0.1


class Answers:
    """Progress at most ten times a second (a loop over samples may report each of them), and one answer at the end.

    The newest progress is always told, if late: a step that begins right after another and takes hours is named.
    """

    def __init__(self, stream: IO[str], pause_s: float = _SHORTEST_PAUSE_S) -> None:
        self._stream = stream
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._last_s = float("-inf")
        self._waiting: dict[str, object] | None = None
        self._is_over = False

    def progress(self, ratio: float, note: str) -> None:
        """``ratio`` 0..1 of the whole."""
        message: dict[str, object] = {"progress": min(1.0, max(0.0, ratio)), "note": note}
        with self._lock:
            due_s = self._last_s + self._pause_s - time.monotonic()
            if due_s <= 0 or ratio >= 1.0:
                self._say(message)
                return
            if self._waiting is None:
                timer = threading.Timer(due_s, self._say_what_waits)
                timer.daemon = True
                timer.start()
            self._waiting = message

    def end(self, answer: dict[str, object]) -> None:
        """The last word."""
        with self._lock:
            self._say(answer)
            self._is_over = True

    def _say_what_waits(self) -> None:
        with self._lock:
            if self._waiting is not None and not self._is_over:
                self._say(self._waiting)

    def _say(self, message: dict[str, object]) -> None:
        self._waiting = None
        self._last_s = time.monotonic()
        self._stream.write(json.dumps(message) + "\n")
        self._stream.flush()
