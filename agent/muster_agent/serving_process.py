"""A serving child as the agent sees it: started or adopted, granted, capped, stopped, and its end explained.

The child is ``python -m muster_agent.serving``. It outlives a killed agent by ten seconds; an agent that comes back
within them adopts it (same socket, pid file beside it), so that apps notice nothing. Imports no numpy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster_agent.local_listener import LocalListener, Peer, ServingSink
from muster_bench.spawn import child_environment
from muster_devices.failpoint import hit
from muster_devices.oom import Oom, OomWatch
from muster_protos.ids import check_id
from muster_protos.model import LocalCap, LocalGrant

log = logging.getLogger(__name__)

__all__ = ["LocalListener", "Peer", "ServingOptions", "ServingProcess", "ServingSink", "left_behind"]

_STDERR_TAIL_BYTES = 2048
_ADOPTION_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How a serving child is started."""

    host: str = "127.0.0.1"  # where the Open Inference Protocol listens
    slowdown_ratio: float = 1.0  # declared slowdown of an emulated device, applied around each inference
    memory_limit_bytes: int | None = None  # RLIMIT_DATA of the child; rungs stay resident below it
    env: Mapping[str, str] = field(default_factory=dict)  # added to the few that a child gets of the agent's own
    enter: Callable[[int], None] | None = None  # puts the new process into its cgroup, before it loads anything
    python: str = sys.executable


class ServingProcess:
    """One serving child for one model.

    ``grant`` and ``cap`` may be called at any time, also before the child is up: the listener keeps them. Failures of
    the child never raise here; ``ServingSink.on_exit`` tells. Starting again after an exit is the daemon's choice.
    """

    def __init__(self, listener: LocalListener, model_id: str, options: ServingOptions | None = None) -> None:
        self.model_id = check_id(model_id, "model id")
        self._listener = listener
        self._options = options or ServingOptions()
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._oom: OomWatch | None = None
        self._is_stopping = False
        self._ended = threading.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        """The process that serves, None when none does."""
        return None if self._ended.is_set() else self._pid

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    def start(self) -> None:
        """Adopt the child that an earlier agent left, or start one. Does nothing while one runs.

        Raises:
            OSError: the child cannot be started.
        """
        if self.is_alive:
            return
        self._is_stopping = False
        adopted = left_behind(self._listener.path, self.model_id)
        if adopted is None:
            self._spawn()
        else:
            log.info("adopting serving process %d of %s", adopted, self.model_id)
            self._pid = adopted
        self._ended.clear()
        threading.Thread(target=self._wait, name=f"serving-{self.model_id}", daemon=True).start()

    def grant(self, grant: LocalGrant) -> None:
        """Grant (or replace) the ladder. LocalReady or LocalFailed answers."""
        self._listener.grant(grant)

    def begin_trial(self, grant: LocalGrant) -> None:
        """Have the child try a grant; apps keep theirs until ``accept_trial``."""
        self._listener.begin_trial(grant)

    def accept_trial(self, grant: LocalGrant) -> None:
        """The child has answered LocalReady: the grant is everybody's."""
        self._listener.accept_trial(grant)

    def reject_trial(self, grant: LocalGrant) -> None:
        """The child has not: the grant of before stays everybody's."""
        self._listener.reject_trial(grant)

    def cap(self, cap: LocalCap) -> None:
        """No rung above this one may be active."""
        self._listener.cap(self.model_id, cap)

    def stop(self, reason: str, timeout_s: float = 5.0) -> None:
        """Take the grant back and end the child: asked, then SIGTERM, then SIGKILL. Safe to call twice."""
        self._is_stopping = True
        is_listening = any(peer.pid == self.pid for peer in self._listener.peers(self.model_id))
        self._listener.revoke(self.model_id, reason)
        if self._ended.wait(timeout_s if is_listening else 0):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            if self._ended.wait(2.0):
                return
        log.error("serving process %s of %s does not end", self._pid, self.model_id)

    # ---- the process ----

    def _spawn(self) -> None:
        options = self._options
        command = [options.python, "-m", "muster_agent.serving"]
        command += ["--socket", str(self._listener.path.absolute()), "--model", self.model_id, "--host", options.host]
        command += ["--slowdown", str(options.slowdown_ratio)]
        if options.memory_limit_bytes is not None:
            command += ["--memory-limit-bytes", str(options.memory_limit_bytes)]
        with self._stderr_path().open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**child_environment(os.environ), "MALLOC_ARENA_MAX": "2", **options.env},
                cwd="/",  # python -m looks into the current folder first: nothing there may pass for a module
                start_new_session=True,  # Ctrl-C in the agent's terminal is the agent's to pass on
            )
        self._pid = self._process.pid
        hit("serving: spawned")
        try:
            if options.enter is not None:
                options.enter(self._pid)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self._oom = OomWatch(self._pid)  # it imports for longer than this takes
        temporary = self._pid_path().with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps({"pid": self._pid}))
            temporary.replace(self._pid_path())
        except OSError as error:  # a full disk: it serves, a later agent only cannot adopt it
            log.warning("the pid of the serving process of %s is not kept: %s", self.model_id, error.strerror)
        hit("serving: pid written")

    def _wait(self) -> None:
        process = self._process
        if process is not None:
            reason = _ending(process.wait(), self._oom)
        else:
            pid = self._pid or 0
            while _serves(pid, self.model_id):
                time.sleep(_ADOPTION_POLL_S)  # not our child: the kernel does not tell us
            reason = "ended; how is unknown, an earlier agent had started it"
        tail = self._stderr_tail()
        peer = Peer(self.model_id, self._pid or 0, is_child=True)
        self._process = None
        with contextlib.suppress(OSError):  # a read-only disk
            self._pid_path().unlink(missing_ok=True)
        self._ended.set()
        if not self._is_stopping:
            self._listener.sink.on_exit(peer, f"serving process {reason}{': ' + tail if tail else ''}")

    def _signal(self, number: signal.Signals) -> None:
        process, pid = self._process, self._pid
        if process is not None:
            process.send_signal(number)
        elif pid is not None and _serves(pid, self.model_id):
            os.kill(pid, number)

    def _stderr_path(self) -> Path:
        return self._listener.path.with_name(f"serving-{self.model_id}.stderr")

    def _pid_path(self) -> Path:
        return _pid_path(self._listener.path, self.model_id)

    def _stderr_tail(self) -> str:
        try:
            with self._stderr_path().open("rb") as stderr:
                stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _STDERR_TAIL_BYTES))
                return stderr.read().decode(errors="replace").strip()
        except OSError:
            return ""


def left_behind(socket_path: Path, model_id: str) -> int | None:
    """The serving process that an earlier agent on this socket has left, while it is there."""
    try:
        pid = int(json.loads(_pid_path(socket_path, model_id).read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if _serves(pid, model_id) else None


def _pid_path(socket_path: Path, model_id: str) -> Path:
    return socket_path.with_name(f"serving-{model_id}.pid")


def _serves(pid: int, model_id: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"muster_agent.serving" in words and model_id.encode() in words


def _ending(returncode: int, oom: OomWatch | None = None) -> str:
    """How a child ended, as exactly as the kernel tells."""
    if returncode == -signal.SIGKILL and oom is not None:
        match oom.verdict():
            case Oom.YES:
                return "was killed by the kernel for want of memory (OOM)"
            case Oom.PERHAPS:
                return "was ended by SIGKILL, perhaps of the kernel for want of memory (OOM)"
            case Oom.NO:
                pass
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"
