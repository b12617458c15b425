"""Many simulated agents at once, and who of them is online."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from rig.controller import LINKS, Ports
from rig.identities import Identity

from muster_agent.version import agent_version
from muster_devices.probe import probe_inventory
from muster_protos.model import Inventory
from simulated.device import SimulatedDevice


class SimulatedFleet:
    """Use it as a context: its devices live while the block runs."""

    def __init__(self, link: str, ports: Ports) -> None:
        if link not in LINKS:
            raise ValueError(f"expected one of {LINKS}, found {link!r}")
        self.devices: list[SimulatedDevice] = []
        self._link = link
        self._port = ports.grpc if link == "grpc" else ports.mqtt
        self._inventory = usual_inventory()
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> SimulatedFleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave([device.device_id for device in self.devices])

    def add(self, identities: Sequence[Identity]) -> list[SimulatedDevice]:
        """Have them ready; ``begin`` lets them dial."""
        added = []
        for identity in identities:
            device = SimulatedDevice(identity, self._link, self._port, self._inventory, self._changed.set)
            device.prepare()
            added.append(device)
        self.devices += added
        return added

    def begin(self, devices: Sequence[SimulatedDevice] | None = None) -> None:
        """Let them dial, all at once."""
        for device in self.devices if devices is None else devices:
            self._lives[device.device_id] = asyncio.create_task(device.live())

    async def leave(self, device_ids: Sequence[str]) -> None:
        """End these for good."""
        lives = [self._lives.pop(device_id) for device_id in device_ids if device_id in self._lives]
        for life in lives:
            life.cancel()
        for life in lives:
            with contextlib.suppress(asyncio.CancelledError):
                await life
        self.devices = [device for device in self.devices if device.device_id not in set(device_ids)]

    def count_online(self) -> int:
        return sum(device.is_online for device in self.devices)

    async def until_online(self, count: int, timeout_s: float) -> float:
        """Seconds until ``count`` are online at the same time; TimeoutError when they are not in time."""
        began_s = time.monotonic()
        async with asyncio.timeout(timeout_s):
            while self.count_online() < count:
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic() - began_s


def usual_inventory() -> Inventory:
    """What an agent on this machine says of itself, without its proof of runtimes."""
    return probe_inventory("simulated", agent_version(), links=LINKS)
