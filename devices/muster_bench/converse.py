"""Talk with one throw-away child: a command in, progress out, and a result that counts only with exit status 0.

The command goes in as one JSON object on stdin. Messages come back as JSON lines on a pipe of their own, because
runtimes print what they like on stdout and stderr: ``{"stage": ...}``, ``{"progress": ...}``, ``{"fact": ...}``,
``{"error": ...}``, ``{"result": ...}``. The result is kept back until the child has ended well: a real published model
corrupts LiteRT's heap and dies by SIGSEGV after it has answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from muster_bench.errors import ChildError, StoppedError
from muster_bench.limits import ChildLimits
from muster_bench.spawn import kill_child, spawn_child
from muster_devices.oom import Oom, OomWatch

Json = dict[str, Any]  # what json.loads gives; typed again by whoever reads it

_POLL_S = 0.1  # how soon a stop is seen
_LINE_LIMIT_BYTES = 32 << 20
_STDERR_KEPT_BYTES = 8192


@dataclass(slots=True)
class _Conversation:
    """What has been heard so far."""

    lines: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    stage: str = "starting"
    error: Mapping[str, str] | None = None
    result: Json | None = None
    oom: OomWatch | None = None


def run_child(
    command: str,
    spec: Mapping[str, Any],
    limits: ChildLimits,
    *,
    on_message: Callable[[Json], None] | None = None,
    stop: threading.Event | None = None,
    on_spawn: Callable[[int], None] | None = None,
    module: str = "muster_bench.child",
) -> Json:
    """Run one command of ``muster_bench.child`` and return its result.

    ``on_message`` gets progress and fact messages while it runs. ``on_spawn`` gets the process id before the child is
    told what to do, so that it can be moved into a cgroup first.

    Raises:
        ChildError: it crashed, hung past ``limits.wall_s``, reported an error, or ended without a result.
        StoppedError: ``stop`` was set.
    """
    read_fd, write_fd = os.pipe()
    spawned_ns = time.monotonic_ns()
    try:
        process = spawn_child(
            module,
            limits=limits,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(write_fd,),
        )
    except OSError:
        os.close(read_fd)
        raise
    finally:
        result_fd = write_fd
        os.close(write_fd)
    heard = _Conversation()
    try:
        if on_spawn is not None:
            on_spawn(process.pid)
        heard.oom = OomWatch(process.pid)
        _tell(process, {"command": command, "result_fd": result_fd, "spawned_ns": spawned_ns, **spec})
        _listen(process, read_fd, heard, spawned_ns + int(limits.wall_s * 1e9), stop, on_message, limits)
    finally:
        kill_child(process)
        os.close(read_fd)
        if process.stderr is not None:
            process.stderr.close()
    return _verdict(process.returncode, heard)


def _tell(process: subprocess.Popen[bytes], command: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died already; its exit status says why
        process.stdin.write(json.dumps(command).encode())
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _listen(
    process: subprocess.Popen[bytes],
    read_fd: int,
    heard: _Conversation,
    deadline_ns: int,
    stop: threading.Event | None,
    on_message: Callable[[Json], None] | None,
    limits: ChildLimits,
) -> None:
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(read_fd, selectors.EVENT_READ, heard.lines)
        selector.register(process.stderr.fileno(), selectors.EVENT_READ, heard.stderr)
        while selector.get_map() or process.poll() is None:
            if stop is not None and stop.is_set():
                raise StoppedError(f"stopped while {heard.stage}")
            if time.monotonic_ns() > deadline_ns:
                raise ChildError(
                    f"did not end within {limits.wall_s:g} s (while {heard.stage}) and was killed", stage=heard.stage
                )
            if not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
                continue
            for key, _ in selector.select(_POLL_S):
                _read(selector, key)
            _take_lines(heard, on_message)
            if process.poll() is not None and not selector.select(0):
                return  # a grandchild may still hold the pipes open


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    chunk = os.read(key.fd, 65536)
    if not chunk:
        selector.unregister(key.fd)
        return
    buffer: bytearray = key.data
    buffer += chunk


def _take_lines(heard: _Conversation, on_message: Callable[[Json], None] | None) -> None:
    if len(heard.lines) > _LINE_LIMIT_BYTES:
        raise ChildError(f"sent more than {_LINE_LIMIT_BYTES} bytes without an end", stage=heard.stage)
    del heard.stderr[: max(0, len(heard.stderr) - _STDERR_KEPT_BYTES)]
    *lines, rest = bytes(heard.lines).split(b"\n")
    if not lines:
        return
    heard.lines[:] = rest
    for line in lines:
        _take(heard, line, on_message)


def _take(heard: _Conversation, line: bytes, on_message: Callable[[Json], None] | None) -> None:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ChildError("sent something that is not JSON", stage=heard.stage) from error
    if "stage" in message:
        heard.stage = message["stage"]
    elif "error" in message:
        heard.error = message["error"]
    elif "result" in message:
        heard.result = message["result"]
        heard.stage = "ending"
    if on_message is not None:
        on_message(message)


def _verdict(status: int, heard: _Conversation) -> Json:
    if status == 0 and heard.result is not None:
        return heard.result
    last_line = _last_line(bytes(heard.stderr))
    said = f"; it said: {last_line}" if last_line else ""
    if status < 0:
        name = _signal_name(-status, heard.oom)
        after = " after it had answered: the result does not count" if heard.result is not None else ""
        raise ChildError(f"killed by {name} while {heard.stage}{after}{said}", stage=heard.stage, signal_name=name)
    if heard.error is not None:
        raise ChildError(heard.error["message"], kind=heard.error["kind"], stage=heard.stage)
    raise ChildError(f"ended with exit status {status} while {heard.stage}{said}", stage=heard.stage)


def _signal_name(number: int, oom: OomWatch | None = None) -> str:
    if number == signal.SIGKILL and oom is not None:
        match oom.verdict():
            case Oom.YES:
                return "SIGKILL of the kernel for want of memory (OOM)"
            case Oom.PERHAPS:
                return "SIGKILL, perhaps of the kernel for want of memory (OOM),"
            case Oom.NO:
                pass
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    telling = [line for line in lines if line and not line.startswith(("INFO:", "VERBOSE:"))]
    return telling[-1][:300] if telling else ""
