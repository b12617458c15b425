"""How long until devices are online: after a join, and after a controller or a broker was killed.

    python benchmarks/join.py -o json
    [{"what": "join", "link": "grpc", "agents": 50, "agents_are": "simulated, sockets only", "seconds": 0.0, ...}]

The controller, its broker, TLS, certificates and the session protocol are real; the agents are **simulated at the
level of sockets**: one asyncio process on the same machine speaks HTTP/2 and MQTT for all of them, with a certificate,
a connection and the agent's own back-off each, and with no runtime, cache or verification behind it.

``join``: ``agents`` knock at the join door (HTTPS) at once, each with a key pair and a request that were made before,
get a certificate, and connect. ``seconds`` until the last is online, that is until the controller has accepted its
session, ``median_seconds`` until half of them are.

``reconnect``: ``agents`` that have joined (identities from the fleet's own code, without the door) are online for 12 s.
Then the process is killed (SIGKILL). A killed controller is started again at once, as a service manager does it, a
killed broker by its controller. ``seconds`` from the kill until all are online again; ``down_seconds`` until the
process says that it serves (a controller's links do so before); ``back_seconds`` what is left. With full jitter from
1 s on (each wait is drawn from 0 to 1, 1.25, 1.56, ... seconds) whoever has knocked in vain while nobody served waits
on, for half as long as the start took or less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rig.controller import LINKS, Controller, RigError, running_controller
from rig.identities import Identity, issue, make_key_pair
from rig.machine import tell_machine
from rig.table import Row, say_rows
from simulated.fleet import SimulatedFleet, usual_inventory
from simulated.join import JoinCount, join

AGENTS_ARE = "simulated, sockets only"
_STEADY_S = 12.0  # a session of 10 s counts as a success: the back-off begins anew
_GOAL_S = 5.0
_USES = 10  # of the join line, per agent: one that gives up waiting may have used it all the same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=["json", "markdown"], default="markdown")
    parser.add_argument("--join", default="1,50,500", help="numbers of agents, separated by commas; empty = none")
    parser.add_argument("--reconnect", type=int, default=1000, metavar="AGENTS", help="0 = do not")
    parser.add_argument("--link", action="append", choices=LINKS, help="default: every link")
    parser.add_argument("--timeout", type=float, default=180.0, metavar="SECONDS", help="for each figure")
    options = parser.parse_args()
    tell_machine("grpcio")
    links = options.link or LINKS
    sizes = [int(size) for size in options.join.split(",") if size]
    rows: list[Row] = []
    try:
        for link, size in itertools.product(links, sizes):
            rows.append(measure_join(link, size, options.timeout))
            print(rows[-1], file=sys.stderr)
        cases = [(link, what) for link in links for what in _victims(link) if options.reconnect]
        for link, what in cases:
            rows.append(measure_reconnect(link, what, options.reconnect, options.timeout))
            print(rows[-1], file=sys.stderr)
    except (RigError, TimeoutError) as error:
        print(f"join: {error or 'not all were online in time'}", file=sys.stderr)
        return 1
    say_rows(rows, options.output)
    return 0


def _victims(link: str) -> tuple[str, ...]:
    return ("controller",) if link == "grpc" else ("controller", "broker")


def measure_join(link: str, agents: int, timeout_s: float) -> Row:
    """From the first knock to the last session."""
    print(f"join {link} {agents}", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="muster-join-") as name,
        running_controller(Path(name), has_broker=link == "mqtt") as controller,
    ):
        line = controller.post("/tokens", {"uses": _USES * agents, "lifetime_s": 3600})["link"]
        return asyncio.run(_join_all(controller, link, line, agents, timeout_s))


async def _join_all(controller: Controller, link: str, line: str, agents: int, timeout_s: float) -> Row:
    pairs = [make_key_pair() for _ in range(agents)]
    inventory, count = usual_inventory(), JoinCount()
    joined: list[Identity] = []
    async with SimulatedFleet(link, controller.ports) as fleet:

        async def come(number: int) -> None:
            identity = await join(line, f"sim-{number:05d}", pairs[number], inventory, count)
            joined.append(identity)
            fleet.begin(fleet.add([identity]))

        began_s = time.monotonic()
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*(come(number) for number in range(agents)))
            await fleet.until_online(agents, timeout_s)
        online = sorted(device.online_at_s - began_s for device in fleet.devices)
        await _check_controller(controller, agents)
    return {
        "what": "join",
        "link": link,
        "agents": agents,
        "agents_are": AGENTS_ARE,
        "seconds": round(online[-1], 2),
        "median_seconds": round(online[len(online) // 2], 2),
        "down_seconds": None,
        "back_seconds": None,
        "retries": count.retries,
        "goal_met": None,
    }


def measure_reconnect(link: str, victim: str, agents: int, timeout_s: float) -> Row:
    """From the kill to the last session."""
    print(f"reconnect {link} {agents} after the {victim} is killed", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="muster-join-") as name:
        folder = Path(name)
        identities = issue(folder / "controller", agents)
        with running_controller(folder, has_broker=link == "mqtt") as controller:
            return asyncio.run(_reconnect_all(controller, link, victim, identities, timeout_s))


async def _reconnect_all(
    controller: Controller, link: str, victim: str, identities: Sequence[Identity], timeout_s: float
) -> Row:
    agents = len(identities)
    async with SimulatedFleet(link, controller.ports) as fleet:
        fleet.add(identities)
        fleet.begin()
        await fleet.until_online(agents, timeout_s)
        await asyncio.sleep(_STEADY_S)
        attempts = sum(device.attempts for device in fleet.devices)
        before = {device.device_id: device.sessions for device in fleet.devices}
        began_s = time.monotonic()
        served_s = await asyncio.to_thread(_kill, controller, victim, timeout_s)
        async with asyncio.timeout(timeout_s):
            while any(device.sessions == before[device.device_id] for device in fleet.devices):
                await asyncio.sleep(0.02)
            await fleet.until_online(agents, timeout_s)
        online = sorted(device.online_at_s - began_s for device in fleet.devices)
        knocks = sum(device.attempts for device in fleet.devices) - attempts
        await _check_controller(controller, agents)
    return {
        "what": f"reconnect, {victim} killed",
        "link": link,
        "agents": agents,
        "agents_are": AGENTS_ARE,
        "seconds": round(online[-1], 2),
        "median_seconds": round(online[len(online) // 2], 2),
        "down_seconds": round(served_s - began_s, 2),
        "back_seconds": round(online[-1] - (served_s - began_s), 2),
        "retries": max(0, knocks - agents),
        "goal_met": online[-1] < _GOAL_S,
    }


def _kill(controller: Controller, victim: str, timeout_s: float) -> float:
    """When somebody listens in its place, monotonic seconds."""
    if victim == "controller":
        controller.kill()
        controller.start()
        controller.wait_ready()
        return time.monotonic()
    killed, deadline_s = controller.broker_pid, time.monotonic() + timeout_s
    os.kill(killed, signal.SIGKILL)
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, ValueError, RigError):  # its file is being written
            if controller.broker_pid != killed:
                _dial(controller.ports.mqtt)
                return time.monotonic()
        time.sleep(0.01)
    raise RigError("expected the broker to be started again, found it is not")


def _dial(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 1.0).close()


async def _check_controller(controller: Controller, agents: int) -> None:
    """The controller says the same."""
    deadline_s = time.monotonic() + 30.0
    while True:
        status = await asyncio.to_thread(controller.get, "/fleet")
        if status["online"] == agents:
            return
        if time.monotonic() > deadline_s:
            raise RigError(f"expected {agents} devices online at the controller, found {status['online']}")
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
