"""What the live fuzz tests share: real messages spoilt a little, and tracebacks in the log as crashes."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence

import pytest

_ODD = (b"\xff" * 9 + b"\x01", b"\0" * 8, b"\x7f\xf0" * 4, b"\xed\xa0\x80", b"\x0a\xff\xff\xff\x7f")


def spoil(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of ``seeds`` with up to six changes; one time in ten noise."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.choice((0, 1, 20, 500, 5_000)))
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(0, 6)):
        at = draw.randrange(len(content) or 1)
        match draw.randrange(6):
            case 0:
                content[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del content[at : at + draw.randint(1, 8)]
            case 2:
                content[at:at] = draw.randbytes(draw.randint(1, 8))
            case 3:
                content[at:at] = content[: draw.randint(0, 40)]
            case 4:
                del content[at:]
            case _:
                content[at : at + 8] = draw.choice(_ODD)
    return bytes(content)


class Tracebacks(logging.Handler):
    """Records with a traceback: each is a fault of ours."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(self.format(record))


@pytest.fixture
def spoilt() -> Callable[[random.Random, Sequence[bytes]], bytes]:
    return spoil


@pytest.fixture
def tracebacks() -> Iterator[Tracebacks]:
    kept = Tracebacks()
    logging.getLogger().addHandler(kept)
    yield kept
    logging.getLogger().removeHandler(kept)
