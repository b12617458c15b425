"""Progress on a terminal: one line on standard error that is rewritten, with the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO

_FEWEST_SECONDS, _LEAST_SHARE = 3.0, 0.02
_WIDTH = 110


class Progress:
    """Silent when the stream is no terminal. The time left is elapsed x (1 - share) / share, from 3 s and 2 % on."""

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = self._stream.isatty()
        self._clock = clock
        self._started = clock()
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def part(self, start: float, share: float) -> Callable[[float, str], None]:
        """Progress of one part of the whole."""
        return lambda ratio, note: self.show(start + share * ratio, note)

    def show(self, ratio: float, note: str) -> None:
        """``ratio`` of the whole is done."""
        if not self._is_shown:
            return
        left = time_left(ratio, self._clock() - self._started)
        line = f"{ratio:4.0%}{left and f' (about {left} left)'} {note}"[:_WIDTH]
        print(f"\r{line:<{self._width}}", end="", file=self._stream, flush=True)
        self._width = len(line)

    def end(self) -> None:
        """Leave the line."""
        if self._is_shown and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=self._stream, flush=True)
            self._width = 0


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
