"""How long everything takes, before and while it runs.

Measured on an AMD EPYC (family 25 model 17), quiet, batch 32, images/s; bfloat16 where marked. A student has a quarter
of the channels.

| network | input | training, 1 core | 2 cores | epochs x samples | minutes | asking it, 1 core | its student, 1 core |
|---|---|---|---|---|---|---|---|
| ResNet-18 (bfloat16) | 1 x 64 x 64 | 127 | 205 | 30 x 1,600 | 4 | 280 | 790 |
| MNIST example | 1 x 28 x 28 | 760 | 1,190 | 8 x 18,000 | 2 | 2,100 | 4,700 |
| ResNet-20 (bfloat16) | 3 x 32 x 32 | 445 | 690 | 24 x 9,000 | 5 | 970 | 830 |
| vision transformer | 1 x 28 x 28 | 870 | 1,090 | 12 x 18,000 | 3 | 3,000 | 3,100 |
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from muster_compression.part_of import OnProgress

BUDGET_S = 3 * 3600.0
_SHOW_EVERY_S = 5.0

TEMPLATE_S = {"quick": 10.0, "edge": 830.0, "tiny": 820.0, "quality": 1320.0, "transformer": 680.0}
"""What one template with its controls took on one task, one thread, others beside it: a mean over the tasks."""
SIDE_S = 300.0


def teacher_s(epochs: int, samples: int, images_per_s: float) -> float:
    """Of a teacher's training on two cores."""
    return epochs * samples / images_per_s


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to do, and what it may cost."""

    name: str
    planned_s: float


@dataclass
class Progress:
    """One line on standard error with the time left: the plan of what is to come, scaled by how the past kept to it."""

    parts: Sequence[Part]
    done: int = 0
    began_s: float = field(default_factory=time.monotonic)
    spent: dict[str, float] = field(default_factory=dict)
    _part_began_s: float = field(default_factory=time.monotonic)
    _shown_s: float = 0.0

    def begin(self, name: str) -> OnProgress:
        """The progress of the part ``name``, which must be the next one."""
        part = self.parts[self.done]
        assert part.name == name, (part.name, name)
        self._part_began_s, self._shown_s = time.monotonic(), 0.0
        return lambda ratio, note: self._show(part, ratio, note)

    def end(self) -> None:
        """The part is done."""
        self.spent[self.parts[self.done].name] = time.monotonic() - self._part_began_s
        self.done += 1

    def skip(self) -> None:
        """The next part is not done at all."""
        self._part_began_s = time.monotonic()
        self.end()

    def left_s(self, ratio: float = 0.0) -> float:
        """Of all parts, with ``ratio`` of the current one done."""
        planned = sum(part.planned_s for part in self.parts[: self.done])
        spent = sum(self.spent.values())
        pace = spent / planned if planned > 0 else 1.0
        ahead = self.parts[self.done :]
        if not ahead:
            return 0.0
        current_s = time.monotonic() - self._part_began_s
        rest_s = current_s / ratio * (1 - ratio) if ratio > 0.1 else (1 - ratio) * pace * ahead[0].planned_s
        return rest_s + pace * sum(part.planned_s for part in ahead[1:])

    def _show(self, part: Part, ratio: float, note: str) -> None:
        now = time.monotonic()
        if now - self._shown_s >= _SHOW_EVERY_S:
            self._shown_s = now
            left = f"all in all {self.left_s(ratio) / 60:.0f} min left"
            print(f"[{self.done + 1}/{len(self.parts)}] {part.name}: {note}; {left}", file=sys.stderr, flush=True)
