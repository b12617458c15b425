"""A load that the agent puts on its own device, as a child: requests to the serving child and, or, busy cores.

The child that sends requests stays outside of an emulated device's limits (it plays the apps' users); busy cores are
put inside them by ``enter``. Imports no numpy.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from muster_bench.spawn import child_environment
from muster_protos.codec import decode, encode
from muster_protos.errors import PermanentError
from muster_protos.model import LoadRequest, LoadResult

_GRACE_S = 20.0  # import, connect, and the answers that are still under way at the end
_POLL_S = 0.1


class LoadError(PermanentError):
    """The load child failed; the message is its last words."""


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What the child needs beside the request."""

    request: LoadRequest
    http_port: int = 0  # of the serving child; 0 with an empty ``request.model_id``
    slo_ns: int = 0  # a request answered later has missed; 0 = no objective
    inputs_path: str = ""  # golden (in_<name>) or evaluation (x_<name>) npz of the model
    host: str = "127.0.0.1"


def run_load(
    spec: LoadSpec,
    stop: threading.Event,
    enter: Callable[[int], None] | None = None,
    leave: Callable[[int], None] | None = None,
    python: str = sys.executable,
) -> LoadResult:
    """Run the load to its end, or until ``stop`` is set; blocking.

    Args:
        spec: what to send, where.
        stop: ends it early; what was counted until then is the result.
        enter: puts the processes that keep cores busy under an emulated device's limits (``Emulator.enter``).
        leave: takes the process that sends requests out of them, where it would be born (``Emulator.leave``).
        python: the interpreter of the children.

    Raises:
        LoadError: the child could not run it (no inputs, nobody answers on the port, it hangs).
    """
    duration_s = sum(phase.duration_ms for phase in spec.request.phases) / 1000
    busy = start_busy(spec.request.cpu_ratio, duration_s + _GRACE_S, enter, python)
    try:
        return _run_child(spec, duration_s, stop, leave, python)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def start_busy(
    cpu_ratio: float, limit_s: float, enter: Callable[[int], None] | None, python: str = sys.executable
) -> tuple[subprocess.Popen[bytes], ...]:
    """Processes that together keep ``cpu_ratio`` of the usable cores busy for at most ``limit_s``."""
    if cpu_ratio <= 0:
        return ()
    command = [
        python,
        "-m",
        "muster_agent.load.busy",
        "--cpu-ratio",
        str(min(cpu_ratio, 1.0)),
        "--seconds",
        str(limit_s),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=child_environment(os.environ), cwd="/"
    )
    if enter is not None:
        enter(process.pid)
    return (process,)


def spec_json(spec: LoadSpec) -> str:
    """What the child reads on its standard input."""
    return json.dumps(
        {
            "request": base64.b64encode(encode(spec.request)).decode(),
            "http_port": spec.http_port,
            "slo_ns": spec.slo_ns,
            "inputs_path": spec.inputs_path,
            "host": spec.host,
        }
    )


def parse_spec(text: str) -> LoadSpec:
    """The inverse of ``spec_json``."""
    fields = json.loads(text)
    return LoadSpec(
        request=decode(LoadRequest, base64.b64decode(fields["request"])),
        http_port=int(fields["http_port"]),
        slo_ns=int(fields["slo_ns"]),
        inputs_path=str(fields["inputs_path"]),
        host=str(fields["host"]),
    )


def _run_child(
    spec: LoadSpec, duration_s: float, stop: threading.Event, leave: Callable[[int], None] | None, python: str
) -> LoadResult:
    process = subprocess.Popen(
        [python, "-m", "muster_agent.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(os.environ),
        cwd="/",
    )
    if leave is not None:
        leave(process.pid)
    deadline_s = time.monotonic() + duration_s + _GRACE_S
    text: bytes | None = spec_json(spec).encode()
    while True:
        try:
            answer, errors = process.communicate(text, timeout=_POLL_S)
            break
        except subprocess.TimeoutExpired:
            text = None  # communicate keeps what it has not written yet
            if stop.is_set():
                process.terminate()  # the child reports what it has so far
                stop = threading.Event()
                deadline_s = min(deadline_s, time.monotonic() + 5)
            elif time.monotonic() > deadline_s:
                process.kill()
                process.communicate()
                raise LoadError(f"expected the load to end within {duration_s + _GRACE_S:.0f} s, it did not") from None
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip()[-500:]
        raise LoadError(f"the load child ended with status {process.returncode}: {words or 'no message'}")
    return decode(LoadResult, answer)
