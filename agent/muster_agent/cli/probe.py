"""``muster-agent probe``: what this device is and can do, without a fleet."""

from __future__ import annotations

import argparse
import json
import socket
from dataclasses import asdict
from enum import Enum

from muster_agent.cli.device_inventory import DeviceInventory, RuntimeProof
from muster_agent.cli.state_folder import state_folder
from muster_agent.join import default_device_id
from muster_protos.model import Inventory

_GIB = 1 << 30


def do(options: argparse.Namespace) -> int:
    """Print the inventory."""
    folder = state_folder(options.state)
    inventory = DeviceInventory(
        default_device_id(socket.gethostname()), folder.root if folder.root.is_dir() else None, proof=RuntimeProof()
    )()
    print(to_json(asdict(inventory)) if options.output == "json" else _table(inventory))
    return 0


def to_json(value: object) -> str:
    """JSON with enums as their values."""
    return json.dumps(value, indent=1, default=lambda item: item.value if isinstance(item, Enum) else str(item))


def _table(inventory: Inventory) -> str:
    ram = "unknown" if inventory.ram_bytes is None else f"{inventory.ram_bytes / _GIB:.1f} GiB"
    disk = "unknown" if inventory.disk_free_bytes is None else f"{inventory.disk_free_bytes / _GIB:.1f} GiB free"
    rows = [
        ("device", f"{inventory.device_id} (class {inventory.device_class})"),
        ("system", f"{inventory.os}, kernel {inventory.kernel}, {inventory.arch}"),
        ("cpu", f"{inventory.cpu_model or 'unknown'}, {inventory.cores} usable cores"),
        ("memory", ram),
        ("disk", disk),
        ("accelerator", inventory.accelerator or "none"),
        ("isolation", inventory.isolation.value),
    ]
    for runtime in inventory.runtimes:
        works = f"{runtime.version}: {', '.join(runtime.providers)}"
        rows.append((runtime.name, works if runtime.providers else f"no: {runtime.unavailable_reason}"))
    for sensor in inventory.sensors:
        rows.append((f"sensor {sensor.kind}", sensor.name or f"none: {sensor.unavailable_reason}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)
