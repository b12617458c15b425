"""``muster up`` as a process of its own: started, killed and started again on the same ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINKS = ("grpc", "mqtt")
_BIN = Path(sys.executable).parent
_START_S = 120.0
_POLL_S = 0.01
_LOOK_S = 0.2


class RigError(Exception):
    """The measurement could not be made; the message says which step failed."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a controller listens; the same after a restart."""

    rest: int
    grpc: int
    join: int
    mqtt: int

    def flags(self, has_broker: bool) -> list[str]:
        """For ``muster up``."""
        named = {"--port": self.rest, "--grpc-port": self.grpc, "--join-port": self.join}
        broker = ["--mqtt", "--mqtt-port", str(self.mqtt)] if has_broker else []
        return [*(part for flag, port in named.items() for part in (flag, str(port))), *broker]


def free_ports() -> Ports:
    """Four that nobody uses just now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        return Ports(*(each.getsockname()[1] for each in taken))


class Controller:
    """The data folder, the ports, and the process while there is one."""

    def __init__(self, data: Path, has_broker: bool, log: Path) -> None:
        self.data = data
        self.ports = free_ports()
        self._has_broker = has_broker
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RigError("expected a running controller, found none")
        return self._process.pid

    @property
    def broker_pid(self) -> int:
        """Of the mosquitto that the controller has started."""
        found = sorted((self.data / "broker").glob("*.pid"))
        if not found:
            raise RigError("expected a broker of the controller's, found none")
        return int(found[0].read_text())

    def start(self) -> None:
        """Start it; ``wait_ready`` tells when it serves."""
        (self.data / "endpoints.json").unlink(missing_ok=True)  # of one that was killed
        command = [str(_BIN / "muster"), "--data", str(self.data), "up", "--no-device"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *self.ports.flags(self._has_broker)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def is_ready(self) -> bool:
        """It has said where it serves."""
        return (self.data / "endpoints.json").exists()

    def wait_ready(self) -> None:
        """Raises:
        RigError: it ended, or did not serve in time.
        """
        deadline_s = time.monotonic() + _START_S
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None:
                raise RigError(f"expected a controller, found that it ended; its log:\n{self.log_tail()}")
            if time.monotonic() > deadline_s:
                raise RigError(f"expected a controller within {_START_S:g} s, found none")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """SIGTERM; SIGKILL when that does not help within 60 s. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def get(self, path: str) -> Any:
        """A JSON answer of the REST interface below /v1."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        return self._ask("POST", path, json.dumps(body).encode())

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path, None)

    def command(self, *arguments: str, timeout_s: float = 300.0) -> Any:
        """``muster ... -o json`` against it.

        Raises:
            RigError: it ended with another code than 0.
        """
        command = [str(_BIN / "muster"), "--data", str(self.data), *arguments, "-o", "json"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        if found.returncode != 0:
            raise RigError(f"`muster {' '.join(arguments)}` ended with {found.returncode}: {found.stderr.strip()}")
        return json.loads(found.stdout) if found.stdout.strip() else None

    @contextmanager
    def begin(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """``muster ...`` against it beside us, at most while the block runs."""
        command = [str(_BIN / "muster"), "--data", str(self.data), *arguments]
        with self._log.open("ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        token = (self.data / "identity" / "admin-token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports.rest}/v1{path}",
            data=body,
            method=method,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@contextmanager
def running_controller(folder: Path, has_broker: bool) -> Iterator[Controller]:
    """One that runs while the block does, and is ready at its beginning."""
    controller = Controller(folder / "controller", has_broker, folder / "controller.log")
    controller.start()
    try:
        controller.wait_ready()
        yield controller
    finally:
        controller.stop()


def run_agent_command(arguments: Sequence[str]) -> None:
    """``muster-agent ...`` of this environment.

    Raises:
        RigError: it ended with another code than 0.
    """
    found = subprocess.run(
        [str(_BIN / "muster-agent"), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if found.returncode != 0:
        raise RigError(f"`muster-agent {arguments[0]}` ended with {found.returncode}: {found.stderr.strip()}")


def until(is_so: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for a fact.

    Raises:
        RigError: it did not come about in time.
    """
    deadline_s = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RigError(f"expected within {seconds:g} s that {what}")
        time.sleep(_LOOK_S)


@contextmanager
def start_agent(state: Path, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``muster-agent run`` while the block runs; an error of the block quotes its log."""
    with log.open("wb") as output:
        command = [str(_BIN / "muster-agent"), "run", "--state", str(state), *options]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process
        except RigError as error:
            raise RigError(f"{error}\n--- {log.name}\n{log.read_text(errors='replace')[-2000:]}") from error
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
