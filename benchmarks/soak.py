"""Does anything grow? A fleet with churn for ten minutes, and the slope of each process's memory.

    python benchmarks/soak.py -o json                 # 10 minutes after a warm-up of two
    [{"process": "controller", "slope_kib_per_min": 0.0, "low": 0.0, "high": 0.0, "rss_mib": 0.0, ...}]

A real controller with its broker, one **real agent** with a serving child that answers a small load all the time, and
``--agents`` **simulated** ones (sockets, no runtime), half on each link. Each second some of the simulated ones lose
their connection, all of them report now and then, one is pushed a model (news for a device that has just joined), and
every few seconds one is removed from the fleet and another joins through the door.

The slope is fitted over the means of 20 stretches after the warm-up; ``low`` and ``high`` hold it with 95 %
confidence; ``second_half_kib_per_min`` is that of the later half alone: caches fill and stop, leaks go on. A process
that was started again in between has no slope and fails the run, as does a load with failures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from rig.controller import LINKS, Controller, RigError, run_agent_command, running_controller, start_agent, until
from rig.identities import make_key_pair
from rig.machine import tell_machine
from rig.model import write_model
from rig.slope import children, command_line, fit, rss_kib
from rig.table import Row, say_rows
from simulated.device import SimulatedDevice
from simulated.fleet import SimulatedFleet, usual_inventory
from simulated.join import JoinCount, join

from muster_protos.model import AgentMessage, Event, Report, Telemetry

MODEL = "dense"
DEVICE = "real"
_SAMPLE_S = 1.0
_WARM_UP_MIN = 2.0
_REPLACE_EVERY_S = 5.0
_LOAD_HZ = 20.0
_ONLINE_S = 120.0
_POLICY = """
constraints: {p95_ms: {max: 1000}}
objective: accuracy
allow_agreement: true
apply: manual
slo: {latency_ms: 1000, percentile: 95}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=["json", "markdown"], default="markdown")
    parser.add_argument("--minutes", type=float, default=10.0, help="after the warm-up")
    parser.add_argument("--warm-up", type=float, default=_WARM_UP_MIN, metavar="MINUTES")
    parser.add_argument("--agents", type=int, default=50, help="simulated ones")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tell_machine("grpcio", "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="muster-soak-") as name:
        try:
            rows = soak(Path(name), options.minutes * 60, options.warm_up * 60, options.agents, options.seed)
        except (RigError, TimeoutError) as error:
            print(f"soak: {error or 'not all were online in time'}", file=sys.stderr)
            return 1
    say_rows(rows, options.output)
    return 0


def soak(folder: Path, seconds: float, warm_up_s: float, agents: int, seed: int) -> list[Row]:
    """Everything below ``folder``."""
    with running_controller(folder, has_broker=True) as controller, _serving_agent(controller, folder) as agent:
        watch = Watch(controller.pid, controller.broker_pid, agent.pid, _serving_child(agent.pid))
        command = ["load", DEVICE, "--model", MODEL, "--rate", str(_LOAD_HZ), "--for", f"{warm_up_s + seconds:.0f}s"]
        with controller.begin(*command) as load:
            churn = asyncio.run(_churn(controller, watch, agents, warm_up_s + seconds, random.Random(seed)))
            outcome = load.wait(120)
        if outcome:
            raise RigError(f"expected the load to be answered, found exit code {outcome}")
        print(f"churn: {churn}", file=sys.stderr)
        return watch.rows(warm_up_s, churn)


@dataclass
class Churn:
    """What happened."""

    joins: int = 0
    removals: int = 0
    drops: int = 0
    reports: int = 0
    pushes: int = 0
    telemetry: int = 0


@dataclass
class Watch:
    """Memory of the processes, KiB, over time."""

    controller: int
    broker: int
    agent: int
    serving_child: int
    began_s: float = field(default_factory=time.monotonic)
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def look(self) -> None:
        """Raises:
        RigError: one of them has gone.
        """
        for name in ("controller", "broker", "agent", "serving_child"):
            found = rss_kib(getattr(self, name))
            if found is None:
                raise RigError(f"expected the {name} to live through it, found it has ended")
            self.samples.setdefault(name, []).append((time.monotonic() - self.began_s, found))

    def rows(self, warm_up_s: float, churn: Churn) -> list[Row]:
        found: list[Row] = []
        for name, samples in self.samples.items():
            later = [sample for sample in samples if sample[0] >= warm_up_s]
            slope, newer = fit(later), fit(later[len(later) // 2 :], blocks=10)
            if slope is None or newer is None:
                raise RigError("expected a longer run: too few samples for a slope")
            found.append(
                {
                    "process": name.replace("_", " "),
                    "slope_kib_per_min": round(slope.per_min, 1),
                    "low": round(slope.low, 1),
                    "high": round(slope.high, 1),
                    "second_half_kib_per_min": round(newer.per_min, 1),
                    "rss_mib": round(later[0][1] / 1024, 1),
                    "rss_mib_at_the_end": round(later[-1][1] / 1024, 1),
                    "minutes": round((later[-1][0] - later[0][0]) / 60, 1),
                    "samples": len(later),
                    "joins": churn.joins,
                    "reconnects": churn.drops,
                    "reports": churn.reports,
                }
            )
        return found


class Crowd:
    """The simulated agents on both links, and what befalls them."""

    def __init__(self, controller: Controller, fleets: dict[str, SimulatedFleet], chance: random.Random) -> None:
        self.churn = Churn()
        self._controller = controller
        self._fleets = fleets
        self._chance = chance
        self._line = ""
        self._number = 0
        self._inventory = usual_inventory()
        self._sequences: dict[str, int] = {}

    async def fill(self, agents: int) -> None:
        self._line = (await self._ask("post", "/tokens", {"uses": 100_000, "lifetime_s": 86_400}))["link"]
        for _ in range(agents):
            await self._come()
        for fleet in self._fleets.values():
            await fleet.until_online(len(fleet.devices), _ONLINE_S)

    async def second(self) -> None:
        """What one second brings."""
        devices = [device for fleet in self._fleets.values() for device in fleet.devices]
        for device in self._chance.sample(devices, min(2, len(devices))):
            device.hang_up()
            self.churn.drops += 1
        for device in devices:
            self._talk(device)
        await self._push(self._chance.choice(devices).device_id)

    async def replace(self) -> None:
        """One is removed, another joins."""
        fleet = self._chance.choice([fleet for fleet in self._fleets.values() if fleet.devices])
        gone = self._chance.choice(fleet.devices).device_id
        await self._ask("delete", f"/devices/{gone}")
        await fleet.leave([gone])
        self.churn.removals += 1
        self._sequences.pop(gone, None)
        await self._come()

    async def _come(self) -> None:
        self._number += 1
        fleet = min(self._fleets.values(), key=lambda each: len(each.devices))
        identity = await join(self._line, f"sim-{self._number:05d}", make_key_pair(), self._inventory, JoinCount())
        fleet.begin(fleet.add([identity]))
        self.churn.joins += 1

    def _talk(self, device: SimulatedDevice) -> None:
        if device.open_reports < 10 and self._chance.random() < 0.5:
            sequence = self._sequences[device.device_id] = self._sequences.get(device.device_id, 0) + 1
            event = Event(f"{device.device_id}-{sequence}", "child.crashed", time.time_ns(), reason="a soak")
            device.report(Report("events", 1, sequence, event))
            self.churn.reports += 1
        if self._chance.random() < 0.1:
            device.say(AgentMessage(Telemetry(at_ns=time.time_ns())), "telemetry")
            self.churn.telemetry += 1

    async def _push(self, device_id: str) -> None:
        """Its desired state changes if it did not have the model yet."""
        try:
            await self._ask("post", "/pushes", {"model": MODEL, "devices": [device_id]})
        except HTTPError as error:
            if error.code not in {404, 409}:  # the device was removed meanwhile
                raise
        else:
            self.churn.pushes += 1

    async def _ask(self, method: str, path: str, *body: object) -> Any:
        return await asyncio.to_thread(getattr(self._controller, method), path, *body)


async def _churn(controller: Controller, watch: Watch, agents: int, seconds: float, chance: random.Random) -> Churn:
    async with contextlib.AsyncExitStack() as stack:
        fleets = {link: await stack.enter_async_context(SimulatedFleet(link, controller.ports)) for link in LINKS}
        crowd = Crowd(controller, fleets, chance)
        await crowd.fill(agents)
        watch.began_s = time.monotonic()
        replaced_s = watch.began_s
        while (now_s := time.monotonic()) - watch.began_s < seconds:
            watch.look()
            await crowd.second()
            if now_s - replaced_s > _REPLACE_EVERY_S:
                replaced_s = now_s
                await crowd.replace()
            await asyncio.sleep(max(0.0, _SAMPLE_S - (time.monotonic() - now_s)))
        return crowd.churn


@contextmanager
def _serving_agent(controller: Controller, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real agent that serves ``MODEL``."""
    state = folder / "agent"
    run_agent_command(["join", controller.command("token", "new")["link"], "--state", str(state), "--id", DEVICE])
    with start_agent(state, folder / "agent.log") as agent:
        until(lambda: controller.get(f"/devices/{DEVICE}")["presence"] == "online", "the agent is online")
        until(lambda: bool(controller.get(f"/devices/{DEVICE}")["inventory"]["runtimes"]), "its runtimes are proved")
        controller.command("model", "add", str(write_model(folder / "dense.onnx")), "--name", MODEL)
        controller.command("push", MODEL, "--device", DEVICE)
        controller.command("bench", "run", MODEL, "--device", DEVICE, "--tier", "demo", "--threads", "1")
        policy = folder / "policy.yaml"
        policy.write_text(_POLICY)
        controller.command("select", MODEL, "--device", DEVICE, "--policy", str(policy))
        controller.command("rollout", "start", MODEL, "--device", DEVICE)
        until(lambda: _serving_pids(agent.pid) != [], "the model is served")
        yield agent


def _serving_pids(agent: int) -> list[int]:
    return [pid for pid in children(agent) if "muster_agent.serving" in command_line(pid)]


def _serving_child(agent: int) -> int:
    found = _serving_pids(agent)
    if len(found) != 1:
        raise RigError(f"expected one serving child, found {len(found)}")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
