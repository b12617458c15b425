"""This machine as a device: an agent process that `muster up` joins and runs over the same path as any other."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cryptography import x509

from muster_controller.service.service import Service
from muster_protos.errors import MusterError

_log = logging.getLogger(__name__)

_JOIN_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0
_MAX_STARTS = 5


class LocalAgent:
    """Starts `muster-agent run` on its own state folder; its log goes to ``agent.log`` there."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._link = ""
        self._door = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.outcome = "not started (--no-device)"

    def start(self, service: Service, link: str, door: str) -> None:
        """Join if this machine has no identity here yet, then run, over ``link``. A failure is told, never fatal.

        ``door``: where it renews a certificate that ran out while nothing ran here.
        """
        self._link, self._door = link, door
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self._state / "identity" / "cert.pem").exists() or self._has_run_out(service):
            problem = self._join(service)
            if problem:
                self.outcome = f"this machine could not join: {problem}"
                return
        self._run()
        self.outcome = self._describe(service)

    def watch(self) -> None:
        """Start it again when it ended by itself, a few times."""
        if self._process is None or self._process.poll() is None:
            return
        status = self._process.returncode
        self._process = None
        if self._starts >= _MAX_STARTS:
            _log.error("this machine's agent ended with status %s again; see %s", status, self._log_path)
            return
        _log.warning("this machine's agent ended with status %s; starting it again", status)
        self._run()

    def stop(self) -> None:
        """End it and wait; what it served ends with it."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _has_run_out(self, service: Service) -> bool:
        """Whether nothing ran here for so long that joining anew is the way: the key, and so the device, stays.

        A device that was removed is not brought back like that.
        """
        identity = self._state / "identity"
        try:
            device = service.devices.get(str(json.loads((identity / "join.json").read_text())["device_id"]))
            certificate = x509.load_pem_x509_certificate((identity / "cert.pem").read_bytes())
        except (OSError, ValueError, KeyError, MusterError):
            return False
        now = datetime.datetime.now(datetime.timezone.utc)
        return not device.is_revoked and certificate.not_valid_after_utc < now

    @property
    def _log_path(self) -> Path:
        return self._state / "agent.log"

    def _join(self, service: Service) -> str:
        """Why joining failed; "" when it did not. The secret travels on standard input, not in the process list."""
        token = service.tokens.new(lifetime_s=300, note="this machine")
        link = token.link.replace(f".{token.secret}.", ".")
        command = [*_AGENT, "join", link, "--secret-stdin", "--state", str(self._state), "--id", host_id()]
        try:
            done = subprocess.run(
                command, input=token.secret.encode(), capture_output=True, timeout=_JOIN_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_JOIN_TIMEOUT_S:.0f} s"
        if done.returncode == 0:
            return ""
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {done.returncode}"

    def _run(self) -> None:
        self._starts += 1
        self._end_orphan()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*_AGENT, "run", "--state", str(self._state), "--link", self._link, "--door", self._door],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the controller, which then ends the agent in order
            )
        self._pid_path.write_text(str(self._process.pid))

    def _end_orphan(self) -> None:
        """End the agent that a killed controller left behind: it holds our state folder and an old address."""
        try:
            pid = int(self._pid_path.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if b"muster_agent" not in words or str(self._state).encode() not in words:
            return
        _log.info("ending agent %d of an earlier controller", pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    @property
    def _pid_path(self) -> Path:
        return self._state / "agent.pid"

    def _describe(self, service: Service) -> str:
        """Who this machine is in the fleet."""
        try:
            identity = json.loads((self._state / "identity" / "join.json").read_text())
            device = service.devices.get(str(identity["device_id"]))
        except (OSError, ValueError, KeyError, MusterError):
            return f"this machine joined; its agent runs (log: {self._log_path})"
        found = device.inventory
        runtimes = ", ".join(f"{r.name} {r.version}" for r in found.runtimes if not r.unavailable_reason)
        ram = f" · {found.ram_bytes / 2**30:.0f} GiB" if found.ram_bytes else ""
        facts = f"{found.arch} · {found.cores} cores{ram} · {runtimes or 'no runtime'}"
        return f'this machine joined as "{device.device_id}" ({facts})'


_AGENT = (sys.executable, "-m", "muster_agent")


def host_id() -> str:
    """The host's name as a device id."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-._")[:60]
    return name or "host"
