"""Slow, far and lossy networks, with the product's own patience: what goes on is no stall. Over both links."""

from __future__ import annotations

import time
from typing import Any

import pytest

from muster_agent.testing_network import Weather

KIB = 1024
SLACK_S = 6.0  # two shared cores
FAR = Weather(delay_s=2.0)  # a round trip of 4 s
NARROW = Weather(bytes_per_s=8_000)  # 64 kbit/s
LOSSY = Weather(loss_ratio=0.3)
ALL = Weather(delay_s=1.0, bytes_per_s=8_000, loss_ratio=0.3)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def is_patient() -> bool:
    return True


@pytest.mark.parametrize(
    ("weather", "size", "within_s"),
    [(FAR, 256 * KIB, 120.0), (NARROW, 320 * KIB, 160.0), (LOSSY, 96 * KIB, 120.0), (ALL, 48 * KIB, 240.0)],
    ids=["2 s latency", "64 kbit/s", "30 % loss", "all three"],
)
def test_a_poor_network_is_slow_and_nothing_else(fleet: Any, weather: Weather, size: int, within_s: float) -> None:
    """One session, one fetch of each artifact, next to nothing said twice."""
    device = fleet.device("pi-1", weather)
    began_s = time.monotonic()
    device.report(50)
    total = fleet.push(device, size)
    fleet.settle(device, within_s)
    fleet.check()
    print(f"{time.monotonic() - began_s:.1f} s, {device.proxy.returned_bytes - total} bytes beside the {total}")
    assert device.link.onlines == fleet.sink.opened["pi-1"] == 1, device.link.offline_reasons
    assert len(device.link.fetches) == len(fleet.artifacts(device)), device.link.fetch_errors
    assert device.proxy.returned_bytes < 1.1 * total + 64 * KIB
    assert fleet.sink.heard["pi-1"] == 50


def test_a_network_that_becomes_slow_in_the_middle_of_a_fetch(fleet: Any) -> None:
    """What was asked for while it was fast may cost a session; what has come stays, and the rest comes."""
    device = fleet.device("pi-1", Weather(bytes_per_s=2_000_000))
    fleet.push(device, 4_000 * KIB)
    fleet.until(lambda: sum(device.cache.appended.values()) > 7_000 * KIB)
    device.proxy.weather = NARROW
    device.report(20)
    fleet.settle(device, 240.0)
    fleet.check()
    fleet.check_refetched(device)
    assert device.link.onlines <= 2, device.link.offline_reasons


def test_silence_is_found_within_half_a_minute_and_healed(fleet: Any) -> None:
    """By both ends, while a fetch is under way; docs/reliability.md promises it."""
    device = fleet.device("pi-1", Weather(bytes_per_s=1_000_000))
    fleet.push(device, 8_000 * KIB)
    fleet.until(lambda: sum(device.cache.appended.values()) > 1_000 * KIB)
    device.proxy.freeze()
    frozen_s = time.monotonic()
    device.report(20)
    fleet.until(lambda: not device.link.is_online)
    fleet.until(lambda: "pi-1" not in fleet.sink.live)
    assert time.monotonic() - frozen_s < 30.0 + SLACK_S
    device.proxy.thaw()
    fleet.settle(device)
    fleet.check()
    fleet.check_refetched(device)
