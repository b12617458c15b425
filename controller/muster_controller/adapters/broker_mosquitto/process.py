"""One child process that is started again when it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster_protos.errors import PermanentError, TemporaryError

_LAUNCH = Path(__file__).with_name("launch.py")
_POLL_S = 0.02

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, and how often is tried."""

    ready_s: float = 15.0
    stop_s: float = 5.0
    look_after_s: float = 30.0
    first_delay_s: float = 0.1  # doubled after each death
    longest_delay_s: float = 10.0
    deaths: int = 10  # in a row, each before it lived for ``stable_s``; then it is given up
    stable_s: float = 30.0


class SupervisedProcess:
    """Runs ``command`` until ``stop``. Thread-safe.

    The child is spawned by a thread that lives as long as this object runs, since the kernel ends the child with the
    thread that spawned it: a controller that is killed leaves no child behind.
    """

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        look_after: Callable[[], None],
        patience: Patience = Patience(),
    ) -> None:
        """``output``: a file for what the child prints. ``look_after`` is called now and then while it runs."""
        self._command = command
        self._output = output
        self._look_after = look_after
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self.starts = 0
        self.problem = ""

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start, and return when ``is_ready``.

        Raises:
            PermanentError: the first child ended; the message has its status.
            TemporaryError: it runs, but was not ready in time; it is stopped.
        """
        self._stopping.clear()
        self.problem, self.starts = "", 0
        self._thread = threading.Thread(target=self._run, name="broker-keeper", daemon=True)
        self._thread.start()
        deadline_s = time.monotonic() + self._patience.ready_s
        while not is_ready():
            problem = self.problem
            if problem or time.monotonic() > deadline_s:
                self.stop()
                if problem:
                    raise PermanentError(problem)
                raise TemporaryError(f"it did not answer within {self._patience.ready_s:g} s")
            self._stopping.wait(_POLL_S)

    def stop(self) -> None:
        """End the child, and wait for it. Safe to call twice."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._signal(signal.SIGTERM)
        thread.join(self._patience.stop_s)
        if thread.is_alive():
            self._signal(signal.SIGKILL)
            thread.join()

    def kill(self) -> None:
        """SIGKILL the child and return when it is gone; it is started again. For tests."""
        with self._changed:
            process = self._process
            self._signal(signal.SIGKILL)
            self._changed.wait_for(lambda: self._process is not process, self._patience.stop_s)

    def hang_up(self) -> None:
        """SIGHUP: have it read its files again."""
        self._signal(signal.SIGHUP)

    @property
    def pid(self) -> int | None:
        with self._changed:
            return self._process.pid if self._process is not None else None

    def _run(self) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            reason = self._run_once()
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - began_s > self._patience.stable_s else deaths + 1
            self.problem = reason
            if deaths > self._patience.deaths:
                self.problem = f"{reason}; given up after {deaths} deaths in a row"
                _log.error("%s", self.problem)
                return
            delay_s = min(self._patience.longest_delay_s, self._patience.first_delay_s * 2 ** (deaths - 1))
            _log.warning("%s; starting it again in %g s", reason, delay_s)
            self._stopping.wait(delay_s)

    def _run_once(self) -> str:
        """Why the child ended."""
        try:
            process = self._spawn()
        except OSError as error:
            return f"{self._command[0]} could not be started: {error.strerror}"
        self._note_pid(process.pid)
        with self._changed:
            self._process = process
            self.starts += 1
        if self._stopping.is_set():
            process.terminate()
        while True:
            try:
                status = process.wait(self._patience.look_after_s)
                break
            except subprocess.TimeoutExpired:
                self.problem = ""
                self._look_after()
        with self._changed:
            self._process = None
            self._changed.notify_all()
        name = Path(self._command[0]).name
        return f"{name} ended by {signal.Signals(-status).name}" if status < 0 else f"{name} ended with status {status}"

    def _note_pid(self, pid: int) -> None:
        """For ``end_orphan``. A full disk must not end this thread, which keeps the child."""
        path = self._output.with_suffix(".pid")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(str(pid))
        except OSError as error:
            _log.warning("%s could not be written: %s", path, error.strerror)

    def _spawn(self) -> subprocess.Popen[bytes]:
        descriptor = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # Ctrl-C is for the controller, which then ends the broker in order
                cwd="/",
            )
        finally:
            os.close(descriptor)

    def _signal(self, number: signal.Signals) -> None:
        with self._changed, contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(number)


def end_orphan(pid_path: Path, word: str, timeout_s: float = 5.0) -> None:
    """End the process that an earlier, killed parent left behind, and wait for it: it holds the port a little longer.

    ``word`` stands in its command line: a process that got the number meanwhile is left alone.
    """
    try:
        pid = int(pid_path.read_text())
    except (OSError, ValueError):
        return
    tick = threading.Event()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline_s = time.monotonic() + timeout_s
        while _is_running(pid, word) and time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):  # it ended, or is somebody else's: then the port tells
                os.kill(pid, number)
            tick.wait(_POLL_S)


def _is_running(pid: int, word: str) -> bool:
    """Linux; elsewhere nobody knows, and the port tells."""
    try:
        return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return False
