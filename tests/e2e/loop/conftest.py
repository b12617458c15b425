"""A real controller with this machine's agent, from the commands that a user types; one for all tests here."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_S = 60.0


@dataclass(frozen=True)
class Controller:
    """``muster up`` on free ports."""

    data: Path
    process: subprocess.Popen[bytes]
    link: str = "grpc"  # by which its devices reach it

    def new_token(self, *options: str) -> dict[str, Any]:
        """``muster token new`` as people do it who have this link; ``line`` is what they hand to the device."""
        by_broker = ("--mqtt",) if self.link == "mqtt" else ()
        done = self.muster("token", "new", *options, *by_broker, "-o", "json")
        assert done.returncode == 0, done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        return made | {"line": made["broker_link" if by_broker else "link"]}

    def muster(self, *arguments: str, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run one command against it."""
        return run_muster(*arguments, data=self.data, timeout_s=timeout_s)

    def environment(self) -> dict[str, str]:
        return environment(self.data)


def run_muster(*arguments: str, data: Path, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "muster_controller", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(data),
        check=False,
    )


def environment(data: Path) -> dict[str, str]:
    """Nothing of the user's own configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
    return kept | {"MUSTER_DATA": str(data), "XDG_CONFIG_HOME": str(data / "config")}


@contextlib.contextmanager
def controller_at(data: Path, *options: str, link: str = "grpc", port: str = "0") -> Iterator[Controller]:
    """Start, wait for its endpoints, stop in order. ``port``: where its devices reach it by ``link``."""
    data.mkdir(parents=True, exist_ok=True)
    ports = {"--port": "0", "--grpc-port": "0", "--join-port": "0", f"--{link}-port": port}
    command = [sys.executable, "-m", "muster_controller", "up", *itertools.chain(*ports.items())]
    if link == "mqtt":
        command.append("--mqtt")
    (data / "up.log").touch()
    before = (data / "up.log").read_bytes().count(b"Next steps")
    with (data / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(data)
        )
    try:
        deadline = time.monotonic() + START_S
        while (data / "up.log").read_bytes().count(b"Next steps") <= before:
            assert process.poll() is None, (data / "up.log").read_text()
            assert time.monotonic() < deadline, (data / "up.log").read_text()
            time.sleep(0.1)
        yield Controller(data, process, link)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextlib.contextmanager
def running_agent(state: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``muster-agent run``, stopped in order."""
    with (state / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster_agent", "run", "--state", str(state), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def start_agent() -> Callable[..., contextlib.AbstractContextManager[subprocess.Popen[bytes]]]:
    """``with start_agent(state folder, *options) as process``."""
    return running_agent


@pytest.fixture
def start_controller() -> Callable[..., contextlib.AbstractContextManager[Controller]]:
    """``with start_controller(folder, *options) as controller``."""
    return controller_at


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with controller_at(tmp_path_factory.mktemp("controller")) as running:
        yield running


@pytest.fixture(scope="session")
def broker_controller(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Controller]:
    """With one device that has joined by the broker's line, and knows no other way than the broker."""
    data = tmp_path_factory.mktemp("broker")
    with controller_at(data, "--no-device", link="mqtt") as running:
        line = running.new_token()["line"]
        joined = running.muster("join", line, "--state", str(data / "device"), "--id", "shelf")
        assert joined.returncode == 0, joined.stderr
        url = json.loads((data / "endpoints.json").read_text())["mqtt"]
        with running_agent(data / "device", "--link", url):
            deadline = time.monotonic() + START_S
            while json.loads(running.muster("status", "-o", "json").stdout)["online"] == 0:
                assert time.monotonic() < deadline, (data / "device" / "agent.log").read_text()
            yield running


@pytest.fixture(scope="session")
def no_device_controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with controller_at(tmp_path_factory.mktemp("empty"), "--no-device") as running:
        yield running


@pytest.fixture
def controller_by(request: pytest.FixtureRequest, link: str) -> Controller:
    """The controller with one device, of the link that the test names."""
    found: Controller = request.getfixturevalue({"grpc": "controller", "mqtt": "broker_controller"}[link])
    return found


@pytest.fixture
def door_by(request: pytest.FixtureRequest, link: str) -> Controller:
    """The controller that devices of the test join, by the link that it names."""
    found: Controller = request.getfixturevalue({"grpc": "no_device_controller", "mqtt": "broker_controller"}[link])
    return found
