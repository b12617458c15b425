"""The inventory: what a device reports of itself. Runtimes are proved elsewhere, by running them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from muster_devices.boot import boot_id
from muster_devices.facts import arch, device_facts
from muster_devices.sensors.survey import survey
from muster_protos.model import Emulation, Inventory, Isolation, RuntimeSupport


def probe_inventory(
    device_id: str,
    agent_version: str,
    *,
    root: Path = Path("/"),
    emulation: Emulation | None = None,
    emulated_memory_bytes: int | None = None,
    isolation: Isolation = Isolation.RLIMIT,
    links: tuple[str, ...] = (),
    runtimes: tuple[RuntimeSupport, ...] = (),
    labels: Mapping[str, str] | None = None,
    state_dir: Path | None = None,
) -> Inventory:
    """Everything that this device is and can do.

    Args:
        device_id: the id of the join.
        agent_version: the version of the running agent.
        root: the tree to read.
        emulation: what an emulator describes of itself; None = a real device.
        emulated_memory_bytes: the emulated device's memory.
        isolation: what children get; ``Emulator.isolation`` knows better than the default.
        links: links that the agent can use.
        runtimes: what was proved by running it.
        labels: free text of people.
        state_dir: the folder whose file system must hold the artifacts.
    """
    facts = device_facts(root, device_id=device_id, emulation=emulation, emulated_memory_bytes=emulated_memory_bytes)
    return Inventory(
        device_id=device_id,
        agent_version=agent_version,
        boot_id=boot_id(root),
        os=facts.os,
        kernel=facts.kernel,
        arch=arch(root),
        cpu_model=facts.cpu_model,
        cores=facts.cores,
        ram_bytes=facts.ram_bytes,
        disk_free_bytes=disk_free_bytes(state_dir),
        device_class=facts.device_class,
        soc=facts.soc,
        accelerator=facts.accelerator,
        python_version=sys.version.split()[0],
        runtimes=runtimes,
        sensors=survey(root),
        links=links,
        isolation=isolation,
        emulation=emulation,
        labels=dict(labels or {}),
        clock_ns=time.time_ns(),
    )


def disk_free_bytes(folder: Path | None) -> int | None:
    """What an unprivileged process may still write below ``folder``; None when it is not known."""
    if folder is None:
        return None
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize
