"""What an idle agent costs, measured from outside.

Starts a controller and one agent that joins it (mTLS), pushes one model into the agent's cache, lets the agent idle and
reads /proc/<pid>/smaps_rollup and /proc/<pid>/stat. Children (benchmark, serving) are processes of their own and are
not part of the agent's figures; while it idles with nothing to serve it has none, which is checked.

    python benchmarks/footprint.py -o json
    [{"link": "grpc", "rss_mib": 0.0, "pss_mib": 0.0, "cpu_ratio": 0.0}, {"link": "mqtt", ...}]

Both links, unless ``--link`` names one; MQTT by the mosquitto that ``muster up --mqtt`` starts. ``-o markdown`` prints
the rows of docs/results.md.

``cpu_ratio`` is CPU time over wall time of the idle stretch (1.0 = one core kept busy).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig.controller import LINKS, Controller, RigError, run_agent_command, running_controller, start_agent, until
from rig.machine import tell_machine
from rig.model import write_model
from rig.slope import children

DEVICE = "footprint"
MODEL = "dense"
LINK_TEXTS = {"grpc": "gRPC", "mqtt": "MQTT"}
BUDGETS_MIB = {"grpc": 52, "mqtt": 36}  # RSS


@dataclass(frozen=True)
class Footprint:
    """One idle agent."""

    link: str
    rss_mib: float
    pss_mib: float
    cpu_ratio: float


def measure(link: str, idle_s: float, folder: Path) -> Footprint:
    """Start everything below ``folder``, measure, stop everything.

    Raises:
        RigError: a process ended early, a step took too long, or the agent was not idle.
    """
    state = folder / "agent"
    with running_controller(folder, has_broker=link == "mqtt") as controller:
        joining = controller.command("token", "new")["link"]
        run_agent_command(["join", joining, "--state", str(state), "--id", DEVICE])
        url = json.loads((controller.data / "endpoints.json").read_text())[link]
        with start_agent(state, folder / "agent.log", "--link", url) as agent:
            until(lambda: _is_online(controller, agent), "the agent is online")
            if _device(controller)["link"] != link:
                raise RigError(f"expected an agent on {link}, found it on {_device(controller)['link'] or 'no link'}")
            controller.command("model", "add", str(write_model(folder / "dense.onnx")), "--name", MODEL)
            controller.command("push", MODEL, "--device", DEVICE, "--timeout", "120")
            until(lambda: not children(agent.pid), "the agent's children end")
            return _watch(link, agent, idle_s)


def _check_runs(agent: subprocess.Popen[bytes]) -> None:
    if agent.poll() is not None:
        raise RigError(f"expected a running agent, found that it ended with exit code {agent.returncode}")


def _is_online(controller: Controller, agent: subprocess.Popen[bytes]) -> bool:
    _check_runs(agent)
    return bool(_device(controller)["presence"] == "online")


def _device(controller: Controller) -> dict[str, Any]:
    found: dict[str, Any] = controller.get(f"/devices/{DEVICE}")
    return found


def _watch(link: str, agent: subprocess.Popen[bytes], idle_s: float) -> Footprint:
    """Read the agent at both ends of the idle stretch."""
    start, cpu_start = time.monotonic(), _cpu_s(agent.pid)
    time.sleep(idle_s)
    _check_runs(agent)
    if busy := children(agent.pid):
        raise RigError(f"the agent was not idle: it has children {busy}")
    cpu_ratio = (_cpu_s(agent.pid) - cpu_start) / (time.monotonic() - start)
    memory = _smaps_mib(agent.pid)
    return Footprint(link, round(memory["Rss"], 1), round(memory["Pss"], 1), round(cpu_ratio, 5))


def _smaps_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def _cpu_s(pid: int) -> float:
    """User and system time; fields 14 and 15 of proc_pid_stat(5), counted after the name's closing bracket."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure each link and print one row for each."""
    parser = argparse.ArgumentParser(description="Memory and CPU of an idle agent.")
    parser.add_argument("-o", "--output", choices=("table", "json", "markdown"), default="table")
    parser.add_argument("--idle", type=float, default=30.0, metavar="SECONDS", help="how long to watch")
    parser.add_argument("--link", action="append", choices=LINKS, help="default: every link")
    options = parser.parse_args()
    tell_machine("grpcio")
    rows = []
    for link in options.link or LINKS:
        with tempfile.TemporaryDirectory(prefix="muster-footprint-") as folder:
            print(f"{link}: starting a controller and an agent, then idling for {options.idle:.0f} s", file=sys.stderr)
            try:
                rows.append(measure(link, options.idle, Path(folder)))
            except RigError as error:
                print(f"footprint: {error}", file=sys.stderr)
                return 1
    if options.output == "json":
        print(json.dumps([asdict(row) for row in rows]))
    elif options.output == "markdown":
        for row in rows:
            print(
                f"| {LINK_TEXTS[row.link]} | {row.rss_mib:.1f} MiB | {row.pss_mib:.1f} MiB | {row.cpu_ratio:.1%} | "
                f"{BUDGETS_MIB[row.link]} MiB |"
            )
    else:
        print(f"{'LINK':6} {'RSS MiB':>8} {'PSS MiB':>8} {'CPU':>9}")
        for row in rows:
            print(f"{row.link:6} {row.rss_mib:8.1f} {row.pss_mib:8.1f} {row.cpu_ratio:9.3%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
