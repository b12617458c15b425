"""Quantizing libraries log advice to the root logger, and one of them sets logging up when it is imported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_library_logging() -> Iterator[None]:
    """Errors only; level and handlers of the root logger are what they were afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
