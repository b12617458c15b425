"""Run one order in a child process: limits, progress, cancellation, and errors that keep their kind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import IO, TypeAlias, TypeVar

from pydantic import TypeAdapter

from muster_compression.orders import ExportOrder, HoldoutOrder, ImportOrder, RecipeOrder, VariantOrder
from muster_compression.part_of import OnProgress
from muster_compression.workspace import publish, staging
from muster_protos import errors
from muster_protos.errors import MusterError, PermanentError, TemporaryError

Order: TypeAlias = ImportOrder | VariantOrder | RecipeOrder | ExportOrder | HoldoutOrder
Result = TypeVar("Result")

_STDERR_TAIL_CHARACTERS = 400
_POLL_S = 0.2
_EXIT_S = 120.0  # a busy machine takes long to unload torch


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use; it is killed beyond the first two and fails by itself beyond the others.

    A training takes hours and says so all the time; what is silent that long (a function that trains by itself may be)
    is taken for dead. Killed or not, a training goes on from its last epoch when the same is asked again.
    """

    wall_s: float = 48 * 3600.0
    silence_s: float = 3600.0
    address_space_bytes: int = 24 * 2**30  # virtual: torch alone maps several GiB
    file_bytes: int = 8 * 2**30


class ChildError(PermanentError):
    """The child died: killed by a signal, out of memory or over its time."""


def run_order(
    order: Order,
    result_type: type[Result],
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    limits: Limits | None = None,
) -> Result:
    """Do ``order`` in ``python -m muster_compression.child`` and return what it answers.

    The result counts only if the child ends with status 0; until then everything lies in a staging folder inside
    the order's ``out_dir``, which is gone afterwards, so no half variant is left.

    Raises:
        InterruptedError: ``stop`` was set; the child is gone.
        ChildError: the child crashed or ran out of time.
        MusterError: the child refused; the same class and message as raised inside.
    """
    limits = limits or Limits()
    with staging(order.out_dir) as folder:
        staged = dataclasses.replace(order, out_dir=folder)
        made = _run(staged, result_type, on_progress, stop, limits)
        return publish(made, folder, order.out_dir)


def _run(
    order: Order,
    result_type: type[Result],
    on_progress: OnProgress | None,
    stop: threading.Event | None,
    limits: Limits,
) -> Result:
    request = {
        "verb": type(order).__name__,
        "order": json.loads(TypeAdapter(type(order)).dump_json(order)),
        "address_space_bytes": limits.address_space_bytes,
        "file_bytes": limits.file_bytes,
    }
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster_compression.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env=_environment(),
        )
        try:
            answer = _converse(process, request, on_progress, stop, limits)
        finally:
            _end(process)
        return _read_answer(answer, process.returncode, stderr, result_type)


def _environment() -> dict[str, str]:
    """The child's variables: no admin token for other people's code, and threads that sleep instead of spinning.

    OpenMP's spinning threads make training several times slower as soon as anything else wants a core. One hash seed
    for all children: the order of a set must not show in the bytes of a model.
    """
    kept = {key: value for key, value in os.environ.items() if key != "MUSTER_TOKEN"}
    return {"OMP_WAIT_POLICY": "PASSIVE", **kept, "PYTHONHASHSEED": "0"}


def _converse(
    process: subprocess.Popen[bytes],
    request: object,
    on_progress: OnProgress | None,
    stop: threading.Event | None,
    limits: Limits,
) -> dict[str, object] | None:
    """Send the request and follow the child's lines until its last one; stdin stays open as a sign of life."""
    assert process.stdin is not None
    assert process.stdout is not None
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    deadline = time.monotonic() + limits.wall_s
    heard = time.monotonic()
    answer: dict[str, object] | None = None
    while True:
        if stop is not None and stop.is_set():
            raise InterruptedError("stopped on request")
        if time.monotonic() > deadline:
            raise ChildError(f"took longer than {limits.wall_s:.0f} s and was ended")
        if time.monotonic() - heard > limits.silence_s:
            raise ChildError(f"said nothing for {limits.silence_s:.0f} s and was ended")
        try:
            line = lines.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        heard = time.monotonic()
        if line is None:
            return answer if _has_ended(process) else None
        message = json.loads(line)
        if "progress" in message:
            if on_progress is not None:
                on_progress(float(message["progress"]), str(message["note"]))
        else:
            answer = message


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the exit itself: a library may still crash while it is unloaded. Closing stdin earlier would kill it."""
    try:
        process.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _read_lines(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    try:
        for line in stream:
            lines.put(line)
    except ValueError:  # closed while the parent gave up
        pass
    lines.put(None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind: the child leads a group of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _read_answer(answer: dict[str, object] | None, status: int, stderr: IO[bytes], result_type: type[Result]) -> Result:
    if answer is not None and "error" in answer:
        raise _rebuild_error(str(answer["kind"]), str(answer["error"]))
    if status != 0 or answer is None:
        raise ChildError(f"the compression child {_how_it_died(status)}; its last words: {_tail(stderr)}")
    return TypeAdapter(result_type).validate_python(answer["result"])


def _how_it_died(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    text = stderr.read().decode(errors="replace").strip()
    return " ".join(text[-_STDERR_TAIL_CHARACTERS:].split()) or "none"


def _rebuild_error(kind: str, message: str) -> MusterError:
    cls = getattr(errors, kind, None)
    if isinstance(cls, type) and issubclass(cls, TemporaryError):
        return cls(message)
    if isinstance(cls, type) and issubclass(cls, MusterError):
        return cls(message)
    return PermanentError(message)
