"""The last will of a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the connection breaks off without a word."""

    topic: str
    payload: bytes
