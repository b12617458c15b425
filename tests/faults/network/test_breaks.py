"""Connections that end: at any byte, again and again, for one side only, slowly, without a word. Over both links."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from muster_agent.testing_network import CALM, Weather

KIB, MIB = 1024, 1024 * 1024
WINDOW_S = {"grpc": 4.0, "mqtt": 4.0}  # in which an agent finds a silent peer: keepalive and its time-out
SLACK_S = 4.0  # two shared cores


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_a_cut_in_the_middle_loses_nothing_and_doubles_nothing(fleet: Any, seed: int) -> None:
    """The short form of this folder, part of every run: messages doubled and late, and the connection reset."""
    device = fleet.device("pi-1", chance=random.Random(seed))
    device.report(20)
    fleet.push(device, 2 * MIB)
    fleet.until(lambda: sum(device.cache.appended.values()) > 0)
    device.proxy.reset()
    device.report(20)
    fleet.settle(device)
    fleet.check()
    assert device.link.onlines == fleet.sink.opened["pi-1"] >= 2
    fleet.check_refetched(device)


@pytest.mark.faults
def test_reset_at_any_byte(fleet: Any) -> None:
    """In the handshake, in the greeting, in a message, in a chunk: each connection ends at a drawn byte."""
    other = fleet.device("pi-2")
    device = fleet.device("pi-1")
    for within in (4 * KIB, 16 * KIB, 64 * KIB):
        device.proxy.weather = Weather(reset_within_bytes=within)
        device.proxy.reset()
        known = device.proxy.connections
        while device.proxy.connections < known + 14:
            device.report(1)  # or a connection that has got so far would rest
            pause(0.05)
    for within, size in ((192 * KIB, MIB), (2 * MIB, 4 * MIB)):  # less than a chunk may carry a fetch on, too
        device.proxy.weather = Weather(reset_within_bytes=within)
        fleet.push(device, size, f"net{size}")
        fleet.until(lambda: fleet.artifacts(device).keys() <= device.cache.cached(), timeout_s=180.0)
    device.proxy.weather = CALM
    fleet.settle(device)
    fleet.check()
    fleet.check_refetched(device)
    assert device.proxy.connections > 50
    assert fleet.sink.opened["pi-2"] == 1
    assert other.link.onlines == 1


@pytest.mark.faults
def test_a_link_that_flaps_a_hundred_times(fleet: Any, seed: int) -> None:
    device = fleet.device("pi-1")
    chance = random.Random(seed)
    fleet.push(device, 24 * MIB)
    for _ in range(100):
        known = device.link.onlines
        device.report(3)
        pause(0.1 * chance.random())
        device.proxy.reset()
        fleet.until(lambda: device.link.onlines > known and device.link.is_online)  # noqa: B023
    fleet.settle(device)
    fleet.check()
    assert device.link.onlines == 101
    assert fleet.sink.opened["pi-1"] == 101
    fleet.check_refetched(device)


@pytest.mark.faults
@pytest.mark.parametrize("is_agent_told", [True, False], ids=["agent told", "controller told"])
def test_a_connection_that_is_over_for_one_side_only(fleet: Any, is_agent_told: bool) -> None:
    device = fleet.device("pi-1")
    fleet.push(device, 8 * MIB)
    fleet.until(lambda: sum(device.cache.appended.values()) > 0)
    broken_s = time.monotonic()
    device.proxy.half_open(is_dialler_told=is_agent_told)
    device.report(20)
    fleet.until(lambda: device.link.onlines == 2)
    assert time.monotonic() - broken_s < WINDOW_S[fleet.kind] + SLACK_S
    fleet.settle(device)
    fleet.check()
    assert fleet.sink.opened["pi-1"] == 2


@pytest.mark.faults
@pytest.mark.parametrize("is_return", [None, True, False], ids=["both ways", "to the agent", "to the controller"])
def test_a_black_hole_is_noticed_and_healed(fleet: Any, is_return: bool | None) -> None:
    """Nothing passes, not even the end; later everything does, what was held up too."""
    device = fleet.device("pi-1")
    fleet.push(device, 8 * MIB)
    fleet.until(lambda: sum(device.cache.appended.values()) > 0)
    frozen_s = time.monotonic()
    device.proxy.freeze(is_return)
    device.report(20)
    fleet.until(lambda: not device.link.is_online)
    assert time.monotonic() - frozen_s < WINDOW_S[fleet.kind] + SLACK_S
    pause(1.0)  # and dials into it
    device.proxy.thaw()
    fleet.settle(device)
    fleet.check()


@pytest.mark.faults
def test_a_short_silence_ends_no_session(fleet: Any) -> None:
    """Less than the window, again and again."""
    device = fleet.device("pi-1")
    fleet.push(device, 4 * MIB)
    for _ in range(6):
        device.proxy.freeze()
        device.report(5)
        pause(0.7)
        device.proxy.thaw()
        pause(0.5)
    fleet.settle(device)
    fleet.check()
    assert device.link.onlines == 1, device.link.offline_reasons


@pytest.mark.faults
def test_an_end_that_arrives_late_keeps_nobody_waiting(fleet: Any) -> None:
    device = fleet.device("pi-1", Weather(close_delay_s=8.0))
    device.report(20)
    fleet.settle(device)
    told_s = time.monotonic()
    device.link.reconnect("a new certificate")
    device.report(20)
    fleet.until(lambda: device.link.onlines == 2)
    assert time.monotonic() - told_s < 5.0
    fleet.settle(device)
    fleet.check()
    closed_s = time.monotonic()
    device.link.close()
    assert time.monotonic() - closed_s < 5.0
    fleet.until(lambda: "pi-1" not in fleet.sink.live, timeout_s=6.0)


@pytest.mark.faults
def test_broker_or_controllers_port_killed_and_restarted(fleet: Any) -> None:
    devices = [fleet.device(f"pi-{number}") for number in range(1, 5)]
    for number, device in enumerate(devices):
        fleet.push(device, 6 * MIB, f"net{number}")
    for _ in range(3):
        known = [device.link.onlines for device in devices]
        for device in devices:
            device.report(20)
        fleet.restart_carrier()
        fleet.until(
            lambda: all(
                each.link.is_online and each.link.onlines > before
                for each, before in zip(devices, known, strict=True)  # noqa: B023
            )
        )
    for device in devices:
        fleet.settle(device)
    fleet.check_refetched(*devices)
    fleet.check()


@pytest.mark.faults
def test_a_port_that_hangs_up_on_everybody_for_a_while(fleet: Any) -> None:
    device = fleet.device("pi-1")
    device.proxy.is_refusing = True
    device.proxy.reset()
    device.report(20)
    fleet.until(lambda: device.link.failures != [])
    pause(2.0)
    assert len(device.link.failures) < 5, "a reason is told once"
    device.proxy.is_refusing = False
    fleet.settle(device)
    fleet.check()
