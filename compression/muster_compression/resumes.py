"""Which trainings went on from a killed run's checkpoint, read off what they say of themselves."""

from __future__ import annotations

import re

from muster_compression.part_of import OnProgress

_EPOCH = re.compile(r"(.+): epoch (\d+) of (\d+), ")


class Resumes:
    """Hands progress on. A training whose first word is of a later epoch than the first was resumed."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._first: dict[str, tuple[int, int]] = {}  # by training: the epoch that it began with, and how many it has

    def __call__(self, ratio: float, note: str) -> None:
        """As ``OnProgress``."""
        if found := _EPOCH.match(note):
            self._first.setdefault(found[1], (int(found[2]), int(found[3])))
        self._on_progress(ratio, note)

    @property
    def told(self) -> tuple[str, ...]:
        """``training went on from epoch 7 of 25``, of each that was resumed."""
        return tuple(
            f"{name} went on from epoch {first} of {count}, as a run before had left it"
            for name, (first, count) in self._first.items()
            if first > 1
        )
