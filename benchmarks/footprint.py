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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEVICE = "footprint"
MODEL = "dense"
LINKS = ("grpc", "mqtt")
LINK_TEXTS = {"grpc": "gRPC", "mqtt": "MQTT"}
BUDGETS_MIB = {"grpc": 52, "mqtt": 36}  # RSS
_BIN = Path(sys.executable).parent
_START_S = 90.0
_PUSH_S = 120.0
_PAUSE_S = 0.2
_ANY_PORTS = ("--port", "0", "--grpc-port", "0", "--join-port", "0")
_BROKER = {"grpc": (), "mqtt": ("--mqtt", "--mqtt-port", "0")}


@dataclass(frozen=True)
class Footprint:
    """One idle agent."""

    link: str
    rss_mib: float
    pss_mib: float
    cpu_ratio: float


class FootprintError(Exception):
    """The measurement could not be made; the message says which step failed."""


def measure(link: str, idle_s: float, folder: Path) -> Footprint:
    """Start everything below ``folder``, measure, stop everything.

    Raises:
        FootprintError: a process ended early, a step took too long, or the agent was not idle.
    """
    data, state, log = folder / "controller", folder / "agent", folder / "log"
    log.mkdir(parents=True)
    with ExitStack() as stack:
        controller = stack.enter_context(
            _running(
                ["muster", "--data", str(data), "up", "--no-device", *_ANY_PORTS, *_BROKER[link]], log / "controller"
            )
        )
        _until(lambda: (data / "endpoints.json").exists(), _START_S, "the controller starts", controller)
        joining = _muster(data, "token", "new", "-o", "json")["link"]
        _run(["muster-agent", "join", joining, "--state", str(state), "--id", DEVICE])
        url = json.loads((data / "endpoints.json").read_text())[link]
        agent = stack.enter_context(
            _running(["muster-agent", "run", "--state", str(state), "--link", url], log / "agent")
        )
        _until(lambda: _device(data)["presence"] == "online", _START_S, "the agent is online", agent)
        if _device(data)["link"] != link:
            raise FootprintError(f"expected an agent on {link}, found it on {_device(data)['link']}")
        _muster(data, "model", "add", str(_write_model(folder / "dense.onnx")), "--name", MODEL, "-o", "json")
        _muster(data, "push", MODEL, "--device", DEVICE, "--timeout", str(_PUSH_S), "-o", "json")
        _until(lambda: not _children(agent.pid), _START_S, "the agent's children end", agent)
        return _watch(link, agent, idle_s)


def _watch(link: str, agent: subprocess.Popen[bytes], idle_s: float) -> Footprint:
    """Read the agent at both ends of the idle stretch."""
    start, cpu_start = time.monotonic(), _cpu_s(agent.pid)
    time.sleep(idle_s)
    if agent.poll() is not None:
        raise FootprintError(f"the agent ended while it should idle, with exit code {agent.returncode}")
    if children := _children(agent.pid):
        raise FootprintError(f"the agent was not idle: it has children {children}")
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


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _device(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = _muster(data, "device", "show", DEVICE, "-o", "json")
    return found


def _write_model(path: Path) -> Path:
    """Two dense layers, 1 MiB of weights: something real to hold in the cache."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = {"w1": random.normal(size=(64, 2048)), "w2": random.normal(size=(2048, 64))}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w1"], ["h"]), helper.make_node("MatMul", ["h", "w2"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _muster(data: Path, *arguments: str) -> Any:
    return json.loads(_run(["muster", "--data", str(data), *arguments]))


def _run(command: Sequence[str]) -> str:
    found = subprocess.run(_full(command), capture_output=True, text=True, timeout=_PUSH_S * 2, check=False)
    if found.returncode != 0:
        raise FootprintError(f"`{' '.join(command[:4])} ...` ended with {found.returncode}: {found.stderr.strip()}")
    return found.stdout


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does; its output goes to a file that an error quotes."""
    with log.open("wb") as output:
        process = subprocess.Popen(_full(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process
        except FootprintError as error:
            raise FootprintError(f"{error}\n--- {log.name}\n{log.read_text()[-2000:]}") from error
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _full(command: Sequence[str]) -> list[str]:
    """The command of this very environment."""
    return [str(_BIN / command[0]), *command[1:]]


def _until(holds: Callable[[], bool], seconds: float, what: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if process.poll() is not None:
            raise FootprintError(f"expected that {what}, found that it ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise FootprintError(f"expected within {seconds:.0f} s that {what}")
        time.sleep(_PAUSE_S)


def main() -> int:
    """Measure each link and print one row for each."""
    parser = argparse.ArgumentParser(description="Memory and CPU of an idle agent.")
    parser.add_argument("-o", "--output", choices=("table", "json", "markdown"), default="table")
    parser.add_argument("--idle", type=float, default=30.0, metavar="SECONDS", help="how long to watch")
    parser.add_argument("--link", action="append", choices=LINKS, help="default: every link")
    options = parser.parse_args()
    rows = []
    for link in options.link or LINKS:
        with tempfile.TemporaryDirectory(prefix="muster-footprint-") as folder:
            print(f"{link}: starting a controller and an agent, then idling for {options.idle:.0f} s", file=sys.stderr)
            try:
                rows.append(measure(link, options.idle, Path(folder)))
            except FootprintError as error:
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
