"""What is said before and after the play: whether the machine is quiet enough for its figures, and what to do next."""

from __future__ import annotations

from pathlib import Path

from muster_devices.preflight import MAX_CPU_PRESSURE_PERCENT
from muster_devices.pressure import PressureReading


def busy_line(reading: PressureReading) -> str:
    """One line when other work keeps the cores busy; "" when none does, or the kernel does not tell."""
    percent = reading.cpu_percent
    if percent is None or percent <= MAX_CPU_PRESSURE_PERCENT:
        return ""
    return (
        f"this machine is busy (CPU pressure {percent:.0f} %, quiet is up to {MAX_CPU_PRESSURE_PERCENT:.0f} %): "
        "the figures will suffer, and the demo may miss what it promises"
    )


def next_steps(kept: Path | None) -> tuple[str, ...]:
    """Commands to try, for the end; ``kept`` is the folder that ``--keep`` named."""
    steps = [
        ("your own fleet", "muster up                # a controller, and this machine as its first device"),
        ("a model", "muster model add examples/digits.py:make --name digits --data builtin:digits"),
        ("its variants", "muster compress digits --recipe quick"),
        ("measure them", "muster push digits && muster bench run digits --tier demo"),
        ("choose", "muster select digits --p95-ms 100 --explain"),
        ("serve", "muster rollout start digits"),
        ("see it fall back", "muster load $(hostname) --model digits --rate 700 --for 20s"),
    ]
    if kept is not None:
        steps.insert(
            0, ("look at this run", f"muster up --no-device --data {kept / 'controller'}   # logs: {kept}/*.log")
        )
    width = max(len(what) for what, _ in steps)
    return ("What next", *(f"  {what:<{width}}  {command}" for what, command in steps))
