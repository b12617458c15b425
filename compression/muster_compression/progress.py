"""Progress on standard error: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import IO

_FEWEST_SECONDS, _LEAST_SHARE = 3.0, 0.02
_WIDTH = 110
_PAUSE_S = 30.0  # between two lines where nobody watches
_LOOK_S = 1.0


class Progress:
    """What is no terminal gets a line every 30 s, by a thread, so that one stands there in a long step, too.

    The time left is elapsed x (1 - share) / share, from 3 s and 2 % on.
    """

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = self._stream.isatty()
        self._clock = clock
        self._started = clock()
        self._width = 0
        self._newest = (0.0, "")
        self._said_s = self._started
        self._is_over = threading.Event()

    def __enter__(self) -> Progress:
        if not self._is_shown:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def part(self, start: float, share: float) -> Callable[[float, str], None]:
        """Progress of one part of the whole."""
        return lambda ratio, note: self.show(start + share * ratio, note)

    def show(self, ratio: float, note: str) -> None:
        """``ratio`` of the whole is done."""
        self._newest = ratio, note
        if not self._is_shown:
            return
        line = self._line()
        print(f"\r{line:<{self._width}}", end="", file=self._stream, flush=True)
        self._width = len(line)

    def say_if_due(self) -> None:
        """Where nobody watches: the newest, when the last line is 30 s old."""
        if self._clock() - self._said_s < _PAUSE_S:
            return
        self._said_s = self._clock()
        print(self._line(), file=self._stream, flush=True)

    def end(self) -> None:
        """Leave the line."""
        self._is_over.set()
        if self._is_shown and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=self._stream, flush=True)
            self._width = 0

    def _beat(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            self.say_if_due()

    def _line(self) -> str:
        ratio, note = self._newest
        left = time_left(ratio, self._clock() - self._started)
        return f"{ratio:4.0%}{left and f' (about {left} left)'} {note}"[:_WIDTH]


def time_left(ratio: float, elapsed_s: float) -> str:
    """``40 s``, ``3 min``, ``2.5 h``; "" while it is too early to say."""
    if elapsed_s < _FEWEST_SECONDS or not _LEAST_SHARE <= ratio < 1:
        return ""
    return duration(elapsed_s * (1 - ratio) / ratio)


def duration(seconds: float) -> str:
    """A span for people, of about two digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
