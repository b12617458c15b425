"""``python -m muster_agent.load.busy``: keep a share of the usable cores busy for a bounded time."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence

_PERIOD_S = 0.010


def burn(busy_ratio: float, until_s: float) -> None:
    """Compute for ``busy_ratio`` of every 10 ms until the monotonic clock reads ``until_s``, or the parent is gone."""
    start_s, parent = time.monotonic(), os.getppid()
    while (now_s := time.monotonic()) < until_s and os.getppid() == parent:
        position_s = (now_s - start_s) % _PERIOD_S
        if position_s >= busy_ratio * _PERIOD_S:
            time.sleep(_PERIOD_S - position_s)


def shares(cpu_ratio: float, cores: int) -> tuple[float, ...]:
    """The busy ratio of each process so that together they take ``cpu_ratio`` of ``cores``."""
    total = min(max(cpu_ratio, 0.0), 1.0) * cores
    count = math.ceil(total - 1e-9)
    return tuple(min(1.0, total - index) for index in range(count))


def main(arguments: Sequence[str] | None = None) -> int:
    """Burn until the time is over or the parent is gone."""
    parser = argparse.ArgumentParser(prog="muster_agent.load.busy", description=__doc__)
    parser.add_argument("--cpu-ratio", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args(arguments)
    until_s = time.monotonic() + options.seconds
    mine, *others = shares(options.cpu_ratio, len(os.sched_getaffinity(0))) or (0.0,)
    for share in others:
        if os.fork() == 0:
            burn(share, until_s)
            os._exit(0)
    burn(mine, until_s)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
