"""Muster for programs: ``muster.connect()`` on the host, ``muster.Serving`` on a device.

In scope: the public Python interface; the command line is a thin layer over it.
Not in scope: any decision; the controller and the agent make those. Nothing heavy is imported before it is used, so
that ``muster.Serving`` works with the lean base install.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from muster.fleet import Fleet, connect
    from muster.serving import Serving
    from muster.slo import SLO

__all__ = ["SLO", "Fleet", "Serving", "connect"]

_HOMES = {"SLO": "muster.slo", "Fleet": "muster.fleet", "Serving": "muster.serving", "connect": "muster.fleet"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'muster' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
