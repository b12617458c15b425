"""A real agent on a disk that is full or read-only, and with no descriptor left: it serves, says so, recovers."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from muster_protos.model import Event

ROWS = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)
FREE_MIB = 24

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("lab", ["grpc", "mqtt"], indirect=True)]


@pytest.fixture
def small_disk(agent) -> Iterator[None]:
    """The agent's state folder on a file system of its own, of 24 MiB."""
    kept = agent.state.with_name("kept")
    shutil.move(agent.state / "identity", kept)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={FREE_MIB}m,mode=0700", "muster-test", str(agent.state)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        shutil.move(kept, agent.state / "identity")
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    shutil.copytree(kept, agent.state / "identity")
    yield
    remount(agent, "rw")
    agent.stop()
    end_all(agent)
    subprocess.run(["umount", "-l", str(agent.state)], check=True)


def end_all(agent) -> None:
    for path in agent.state.glob("serving-*.pid"):
        with suppress(OSError, ValueError):
            os.kill(json.loads(path.read_text())["pid"], 9)


def remount(agent, how: str) -> bool:
    """False while somebody still writes there."""
    return subprocess.run(["mount", "-o", f"remount,{how}", str(agent.state)], check=False).returncode == 0


def fill(agent) -> None:
    """Not a byte is left, not even for the log."""
    with (agent.state / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def ask(lab) -> np.ndarray:
    ports = [item.http_port for state in lab.reported for item in state.serving if item.http_port]
    if not ports:
        raise ConnectionError("nothing is reported as served")
    port = ports[-1]
    body = {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROWS.ravel().tolist()}]}
    url, kind = f"http://127.0.0.1:{port}/v2/models/net/infer", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), kind), timeout=5) as answer:
        return np.array(json.load(answer)["outputs"][0]["data"], np.float32).reshape(1, 4)


def serves(lab, e2e, seed: int) -> bool:
    try:
        return bool(np.allclose(ask(lab), e2e.reference(16, seed, ROWS), atol=1e-4))
    except OSError:
        return False


def kinds(lab) -> list[str]:
    return [report.body.kind for report in lab.reports.values() if isinstance(report.body, Event)]


def begin(lab, agent, e2e) -> None:
    """The first model is served and nothing waits to be reported."""
    variant = lab.variant("good", 16, seed=1)
    agent.start(log_level="info")
    lab.wait_converged(lab.want(lab.model(variant, grant=e2e.grant("d1", variant))), 120)
    e2e.eventually(lambda: "deployment.committed" in kinds(lab))


def command(agent, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "muster_agent", name, "--state", str(agent.state)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_full_disk_is_served_through_said_and_recovered_from(lab, agent, e2e, small_disk):
    begin(lab, agent, e2e)
    fill(agent)
    variant = lab.variant("next", 16, seed=2, padding=400_000)
    version = lab.want(lab.model(variant, grant=e2e.grant("d2", variant)))
    lab.wait(lambda: any("disk is full" in state.reason for state in lab.reported[-3:]), 60, "a word of the full disk")
    assert serves(lab, e2e, 1)
    assert agent.process.poll() is None
    status = command(agent, "status")
    assert (status.returncode, "full" in status.stdout) == (1, True), status.stdout + status.stderr
    assert "full" in command(agent, "doctor").stdout

    agent.kill()  # a reboot in the middle of it, with no controller
    lab.shut()
    e2e.end_children(agent.state)
    end_all(agent)
    agent.start(log_level="info")
    e2e.eventually(lambda: serves(lab, e2e, 1), 60)
    assert agent.process.poll() is None

    lab.open()
    (agent.state / "filler").unlink()
    lab.wait_converged(version, 120)
    e2e.eventually(lambda: serves(lab, e2e, 2), 30)
    e2e.eventually(lambda: "disk.full" in kinds(lab), 30)
    assert len({key[2] for key in lab.reports}) == len(lab.reports)


def test_a_read_only_disk_is_served_from_also_after_a_reboot(lab, agent, e2e, small_disk):
    begin(lab, agent, e2e)
    agent.kill()
    e2e.end_children(agent.state)
    end_all(agent)
    log = agent.state.with_name("agent.log")
    e2e.eventually(lambda: remount(agent, "ro"))
    output = log.open("ab")
    agent.process = subprocess.Popen(
        [
            *(sys.executable, "-m", "muster_agent", "run", "--state", str(agent.state)),
            *("--link", lab.url),
        ],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    output.close()
    lab.reported.clear()
    e2e.eventually(lambda: lab.reported and serves(lab, e2e, 1), 60)
    assert agent.process.poll() is None, log.read_text()
    variant = lab.variant("next", 16, seed=2)
    version = lab.want(lab.model(variant, grant=e2e.grant("d2", variant)))
    lab.wait(lambda: "cannot be written" in lab.reported[-1].reason, 60, "a word of the read-only disk")
    assert lab.reported[-1].desired_version < version  # nothing is begun that cannot be written down
    status = command(agent, "status")
    assert (status.returncode, "read-only" in status.stdout) == (1, True), status.stdout + status.stderr
    assert f"link online by {lab.link_name}" in status.stdout  # noted elsewhere
    second = command(agent, "run")
    assert second.returncode == 1
    assert "another agent" in second.stderr

    remount(agent, "rw")
    lab.wait_converged(version, 120)
    e2e.eventually(lambda: {"state.unwritable", "state.recovered"} <= set(kinds(lab)), 30)


def test_an_agent_without_a_descriptor_left_serves_on_and_says_so(lab, agent, e2e):
    begin(lab, agent, e2e)
    before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    used = len(list(os.scandir(f"/proc/{agent.pid}/fd")))
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (used, before[1]))
    e2e.eventually(lambda: "descriptors.exhausted" in kinds(lab), 60)
    e2e.eventually(lambda: any("descriptors are exhausted" in state.reason for state in lab.reported[-5:]))
    assert serves(lab, e2e, 1)
    assert agent.process.poll() is None
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
    variant = lab.variant("next", 16, seed=2)
    lab.wait_converged(lab.want(lab.model(variant, grant=e2e.grant("d2", variant))), 120)
    e2e.eventually(lambda: "descriptors.recovered" in kinds(lab), 30)
