"""The machine that measures, in one line, and whether it is quiet enough."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from muster_devices.pressure import read_pressure

QUIET_PERCENT = 10.0  # of the last 10 s in which somebody waited for the CPU


def describe_machine(*packages: str) -> str:
    """Machine, versions and date; ``packages`` beside our own."""
    versions = " ".join(f"{name} {version(name)}" for name in ("muster-edge", "protobuf", *packages))
    return (
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%MZ} {platform.machine()} {os.cpu_count()} cores "
        f"({cpu_model()}) {platform.platform()} Python {platform.python_version()} {versions}"
    )


def tell_machine(*packages: str) -> None:
    """On standard error, with a warning when others work here: then no figure is a measurement."""
    print(describe_machine(*packages), file=sys.stderr)
    cpu = read_pressure().cpu_percent
    if cpu is None:
        print("no pressure information: nobody can tell whether this machine is quiet", file=sys.stderr)
    elif cpu > QUIET_PERCENT:
        print(f"NOT QUIET: CPU pressure {cpu:.0f} % before the start; these figures say little", file=sys.stderr)
    else:
        print(f"CPU pressure {cpu:.0f} % before the start", file=sys.stderr)


def cpu_model() -> str:
    """As the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "CPU unknown"
