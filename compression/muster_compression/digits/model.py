"""Trained digits models in three widths, as ``muster model add`` and ``muster-compress`` take them."""

from __future__ import annotations

from muster_compression.digits.net import DigitsNet
from muster_compression.digits.train import NARROW, TINY, WIDE, trained


def make() -> DigitsNet:
    """The wide network in eval mode: the baseline."""
    return trained(WIDE)


def make_narrow() -> DigitsNet:
    """A third of the width: a ready-made variant."""
    return trained(NARROW)


def make_tiny() -> DigitsNet:
    """A ninth of the width: the variant for hard times."""
    return trained(TINY)
