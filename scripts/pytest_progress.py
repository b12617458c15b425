"""A pytest plugin of `make test`: twice a minute it says what runs, and each outcome is in a file as it comes."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TextIO

import pytest

PERIOD_S = 30.0
WORST = ("passed", "skipped", "rerun", "failed")


class Progress:
    """What has started and not ended yet, and what became of the rest."""

    def __init__(self, output: TextIO, outcomes: TextIO) -> None:
        self._output = output
        self._outcomes = outcomes
        self._began_s = time.monotonic()
        self._running: dict[str, float] = {}
        self._ended: dict[str, tuple[str, float]] = {}  # the worst so far and its seconds, setup and reruns included
        self._done = 0
        self._over = threading.Event()
        self._talker = threading.Thread(target=self._talk, name="progress", daemon=True)

    def pytest_sessionstart(self) -> None:
        self._talker.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = time.monotonic()
        self._put(nodeid, "cut", 0.0)  # its last word unless another one follows

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found, seconds = self._ended.get(report.nodeid, ("passed", 0.0))
        worst = max(found, report.outcome, key=WORST.index)
        self._ended[report.nodeid] = (worst, seconds + report.duration)
        if report.outcome == "failed":
            print(f"\nFAILED {report.nodeid} ({report.when})", file=self._output, flush=True)
        if report.when not in ("setup", "call", "teardown"):  # the last words of a worker that died in it
            self._write(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write(nodeid)

    def pytest_sessionfinish(self) -> None:
        self._over.set()
        self._talker.join()
        self._outcomes.close()
        self._output.close()

    def _write(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)
        outcome, seconds = self._ended.pop(nodeid, ("failed", 0.0))
        self._done += 1
        self._put(nodeid, outcome, seconds)

    def _put(self, nodeid: str, outcome: str, seconds: float) -> None:
        self._outcomes.write(json.dumps({"test": nodeid, "outcome": outcome, "seconds": round(seconds, 2)}) + "\n")
        self._outcomes.flush()

    def _talk(self) -> None:
        while not self._over.wait(PERIOD_S):
            now = time.monotonic()
            spent = int(now - self._began_s)
            running = [f"{nodeid} ({now - began:.0f} s)" for nodeid, began in list(self._running.items())]
            line = f"\n[{spent // 60}:{spent % 60:02}] {self._done} done; now {', '.join(running) or 'nothing'}"
            print(line, file=self._output, flush=True)


def pytest_configure(config: pytest.Config) -> None:
    """In the process that reports; the workers of xdist send everything there."""
    if hasattr(config, "workerinput"):
        return
    output = os.fdopen(os.dup(1), "w")  # the real one: while a test runs, pytest keeps what is written
    outcomes = Path(os.environ["MUSTER_TEST_OUTCOMES"]).open("a")  # noqa: SIM115 (closed at the end)
    config.pluginmanager.register(Progress(output, outcomes), "muster-progress")
