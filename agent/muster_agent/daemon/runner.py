"""Runs one step at a time.

Invariants: at most one step runs; its end is posted exactly once; a stop only asks, the step ends by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from muster_agent.core.steps import Step
from muster_protos.errors import MusterError, PermanentError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepEnded:
    """What became of a step; neither an error nor stopped = done."""

    step: Step
    error: MusterError | None = None
    is_stopped: bool = False


Act = Callable[[Step, threading.Event], None]
Post = Callable[[StepEnded], None]


class Runner(Protocol):
    """Runs steps for the daemon."""

    @property
    def running(self) -> Step | None:
        """The step that runs, or has ended without its end having been taken yet."""
        ...

    def taken(self) -> None:
        """The end of the step has been dealt with: the next may start."""
        ...

    def start(self, step: Step, act: Act, post: Post) -> None: ...
    def stop(self) -> None:
        """Ask the running step to end early."""
        ...

    def join(self, timeout_s: float) -> bool:
        """Wait for the running step; False when it is still at it."""
        ...

    def beside(self, work: Callable[[], None]) -> None:
        """Do ``work``, which never raises and leaves nothing behind when it is killed, beside loop and step."""
        ...


class ThreadRunner:
    """Runs each step in a thread of its own, so that the loop keeps listening."""

    def __init__(self) -> None:
        self._step: Step | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> Step | None:
        return self._step

    def start(self, step: Step, act: Act, post: Post) -> None:
        assert self._step is None, f"{self._step} is still running"
        self._step = step
        self._stop = stop = threading.Event()

        def run() -> None:
            post(perform(step, act, stop))

        self._thread = threading.Thread(target=run, name="step", daemon=True)
        self._thread.start()

    def taken(self) -> None:
        self._step = None

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def beside(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="check", daemon=True).start()


class InlineRunner:
    """Runs each step at once, in the loop's own thread: for tests."""

    def __init__(self) -> None:
        self._step: Step | None = None
        self._stop = threading.Event()

    @property
    def running(self) -> Step | None:
        return self._step

    def taken(self) -> None:
        self._step = None

    def start(self, step: Step, act: Act, post: Post) -> None:
        assert self._step is None, f"{self._step} is still running"
        self._step = step
        self._stop.clear()
        post(perform(step, act, self._stop))

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout_s: float) -> bool:  # noqa: ARG002 (nothing to wait for)
        return True

    def beside(self, work: Callable[[], None]) -> None:
        work()


def perform(step: Step, act: Act, stop: threading.Event) -> StepEnded:
    """Do a step and say how it ended; a bug in it must not take the agent down."""
    try:
        act(step, stop)
    except InterruptedError:
        return StepEnded(step, is_stopped=True)
    except MusterError as error:
        return StepEnded(step, error)
    except Exception as error:
        log.exception("step %s failed unexpectedly", type(step).__name__)
        return StepEnded(step, PermanentError(f"{type(step).__name__} failed: {type(error).__name__}: {error}"))
    return StepEnded(step)
