"""How much of a teacher's accuracy is kept, sample by sample: both answer the same test set."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Paired:
    """``lost``: samples that only the teacher gets right; ``gained``: that only the variant does. 1 = as accurate."""

    n: int
    teacher_right: int
    lost: int
    gained: int

    @property
    def share(self) -> float:
        """The variant's accuracy over the teacher's."""
        return 1 + (self.gained - self.lost) / self.teacher_right if self.teacher_right else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of ``share``: the difference of paired shares (Bonett, Price, 2012).

        The teacher's accuracy that it is divided by is taken as it was measured.
        """
        if not self.teacher_right:
            return 0.0, 0.0
        lost, gained = (self.lost + 1) / (self.n + 2), (self.gained + 1) / (self.n + 2)
        middle = gained - lost
        reach = _Z_95 * sqrt((lost + gained - middle**2) / (self.n + 2))
        accuracy = self.teacher_right / self.n
        return 1 + (middle - reach) / accuracy, 1 + (middle + reach) / accuracy
