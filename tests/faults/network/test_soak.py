"""Faults of every kind, drawn from a seed, one after the other while a fleet works; then quiet, then the promises.

MUSTER_NETWORK_EPISODES=<count> is how many over each link, 60 unless told.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from muster_agent.testing_network import CALM, TcpProxy, Weather

MIB = 1024 * 1024
EPISODES = int(os.environ.get("MUSTER_NETWORK_EPISODES", "60"))
PUSH_EVERY = 12

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


class Storms:
    """One kind of trouble for one proxy at a time; each ends after a drawn while."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.kinds: dict[str, Callable[[TcpProxy], None]] = {
            "reset": lambda proxy: proxy.reset(),
            "reset at any byte": lambda proxy: self._spoil(proxy, Weather(reset_within_bytes=self._size(MIB))),
            "black hole": lambda proxy: proxy.freeze(),
            "deaf": lambda proxy: proxy.freeze(is_return=True),
            "mute": lambda proxy: proxy.freeze(is_return=False),
            "half-open, dialler told": lambda proxy: proxy.half_open(is_dialler_told=True),
            "half-open, other side told": lambda proxy: proxy.half_open(is_dialler_told=False),
            "slow": lambda proxy: self._change(proxy, Weather(bytes_per_s=self.chance.uniform(20e3, 500e3))),
            "far": lambda proxy: self._change(proxy, Weather(delay_s=self.chance.uniform(0.05, 0.4))),
            "lossy": lambda proxy: self._change(proxy, Weather(loss_ratio=self.chance.uniform(0.01, 0.2))),
            "slow close": lambda proxy: self._spoil(proxy, Weather(close_delay_s=5.0)),
            "refused": self._refuse,
        }

    def strike(self, kind: str, proxy: TcpProxy) -> None:
        """Begin one episode."""
        self.kinds[kind](proxy)

    def pass_over(self, proxy: TcpProxy) -> None:
        """End it. Connections that are broken stay so: both ends have to find out."""
        proxy.weather = CALM
        proxy.is_refusing = False
        proxy.thaw()

    def _size(self, most: int) -> int:
        return int(2 ** self.chance.uniform(9, most.bit_length()))

    def _change(self, proxy: TcpProxy, weather: Weather) -> None:
        proxy.weather = weather

    def _spoil(self, proxy: TcpProxy, weather: Weather) -> None:
        proxy.weather = weather
        proxy.reset()

    def _refuse(self, proxy: TcpProxy) -> None:
        proxy.is_refusing = True
        proxy.reset()


def test_drawn_faults_break_no_promise(fleet: Any, seed: int) -> None:
    chance = random.Random(seed)
    storms = Storms(chance)
    witness = fleet.device("pi-0")
    devices = [fleet.device("pi-1", chance=random.Random(seed + 1)), fleet.device("pi-2")]
    told: Counter[str] = Counter()
    for number in range(EPISODES):
        if number % PUSH_EVERY == 0:
            for device in devices:
                fleet.push(device, 3 * MIB, f"{device.device_id}-{number}")
        device = chance.choice(devices)
        proxy, kind = device.proxy, chance.choice(sorted(storms.kinds))
        if number % 20 == 19:
            kind = "broker or controller's port killed"
            fleet.restart_carrier()
        elif fleet.uplink is not None and number % 7 == 6:
            proxy, kind = fleet.uplink, chance.choice(("reset", "black hole", "slow", "far"))
            storms.strike(kind, proxy)
            kind += ", controller's own way"
        else:
            storms.strike(kind, proxy)
        told[kind] += 1
        for each in (witness, *devices):
            each.report(chance.randint(0, 6))
        threading.Event().wait(chance.uniform(0.1, 2.5))
        storms.pass_over(proxy)
    for each in (witness, *devices):
        fleet.settle(each, 120.0)
    fleet.check()
    fleet.check_refetched(*devices)
    print(f"\n{fleet.kind}: {EPISODES} episodes, seed {seed}")
    for kind, count in sorted(told.items()):
        print(f"  {count:4d}  {kind}")
    print("  sessions: " + ", ".join(f"{each.device_id} {each.link.onlines}" for each in (witness, *devices)))
    print("  reports stored once: " + ", ".join(str(len(each.queued)) for each in (witness, *devices)))
    shared = sum(count for kind, count in told.items() if "controller's" in kind)
    assert witness.link.onlines <= 1 + shared, "another device's faults are not this one's"
