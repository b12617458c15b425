"""The processes of the demo: a controller and its agents, started from the same commands that a user types."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from muster.settings import ENDPOINTS
from muster_protos.errors import PermanentError

_START_S = 60.0
_STOP_S = 15.0


class Stage:
    """Starts processes below one folder and stops every one of them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "controller"
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.clear()

    def start_controller(self, has_broker: bool = False) -> None:
        """``muster up`` on free ports, perhaps ``--mqtt``; returns when its endpoints are written.

        Raises:
            PermanentError: it ended or did not come up; the message quotes its last words.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        endpoints = self.data / ENDPOINTS
        endpoints.unlink(missing_ok=True)
        ports = ("--port", "0", "--grpc-port", "0", "--join-port", "0")
        broker = ("--mqtt", "--mqtt-port", "0") if has_broker else ()
        process = self._start(
            "controller", ["-m", "muster_controller", "up", "--no-device", "--data", str(self.data), *ports, *broker]
        )
        deadline = time.monotonic() + _START_S
        while not endpoints.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise PermanentError(f"expected a controller, found: {self.last_words('controller')}")
            time.sleep(0.05)

    def join(self, device_id: str, link: str, secret: str) -> None:
        """``muster-agent join`` with the secret on standard input, where no process list shows it."""
        bare = link.replace(f".{secret}.", ".")
        command = ["-m", "muster_agent", "join", bare, "--secret-stdin", "--id", device_id]
        done = subprocess.run(
            [sys.executable, *command, "--state", str(self._state(device_id))],
            input=secret,
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
            env=_env(),
        )
        if done.returncode != 0:
            raise PermanentError(f"expected {device_id} to join, found: {done.stderr.strip()[-400:]}")

    def start_agent(self, device_id: str, profile: str) -> None:
        """``muster-agent run --profile``."""
        self._start(
            device_id, ["-m", "muster_agent", "run", "--state", str(self._state(device_id)), "--profile", profile]
        )

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        try:
            lines = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return " / ".join(lines[-3:]) or "nothing"

    def dead(self) -> list[str]:
        """Names of processes that ended by themselves."""
        return [name for name, process in self._running if process.poll() is not None]

    def stop_agent(self, device_id: str) -> None:
        """End it as a service manager does; it may be started again."""
        for found in [pair for pair in self._running if pair[0] == device_id]:
            _end(*found)
            self._running.remove(found)

    def clear(self) -> None:
        """Agents first, then the controller; SIGTERM, and SIGKILL for what does not listen."""
        for name, process in reversed(self._running):
            _end(name, process)
        self._running.clear()

    def _start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_env(),
            )
        self._running.append((name, process))
        return process

    def _state(self, device_id: str) -> Path:
        return self.folder / "devices" / device_id


def _end(name: str, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S if name == "controller" else _STOP_S / 2)
    if process.poll() is None:
        process.kill()
        process.wait()


def _env() -> dict[str, str]:
    """Nothing of the user's own fleet may leak into the demo."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_") or key == "MUSTER_CACHE"}
