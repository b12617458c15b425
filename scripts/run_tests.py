"""`make test`: every test in two runs, the times by folder, and every failure by its name at the very end.

Most tests run two at a time. Those that measure times or memory (marker `alone`) follow one after another. What is
not over after MUSTER_TEST_LIMIT_S (35 minutes unless told) is cut with the stacks of all its threads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("e2e", "integration", "regression", "contract", "architecture", "faults", "unit")  # the longest pieces first
LIMIT_S = float(os.environ.get("MUSTER_TEST_LIMIT_S", "2100"))
RUNS = (
    ("not faults and not alone", ("-n", "2", "--no-loadscope-reorder", "-p", "pytest_folders")),
    ("alone and not faults", ("-p", "no:xdist", "--cov-append")),
)
SLOWEST = 15
CUT = 124
INTERRUPTED = 2  # pytest's own code for Ctrl-C
NAMED = 60  # failures; a longer list is cut, so that the last hundred lines of a log have all of its kinds


class TerminatedError(Exception):
    """Somebody sent SIGTERM: a CI that gives up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test."""

    test: str
    outcome: str
    seconds: float

    @property
    def folder(self) -> str:
        return "/".join(Path(self.test.partition("::")[0]).parent.parts[:3])


def run(marks: str, options: Sequence[str], outcomes: Path, deadline_s: float) -> int:
    """One pytest; its exit code, or CUT."""
    options = ["-p", "no:cacheprovider", "-p", "pytest_progress", "--cov", "--cov-report=", *options]
    paths = [f"tests/{name}" for name in FOLDERS]
    if marks.startswith("alone"):  # the others need not even be read
        files = sorted((ROOT / "tests").rglob("test_*.py"))
        paths = [str(path.relative_to(ROOT)) for path in files if "mark.alone" in path.read_text()]
    plugins = os.pathsep.join(filter(None, (str(ROOT / "scripts"), os.environ.get("PYTHONPATH", ""))))
    environment = os.environ | {"MUSTER_TEST_OUTCOMES": str(outcomes), "PYTHONPATH": plugins}
    print(f"\n== {marks} ==", flush=True)
    command = [sys.executable, "-m", "pytest", *options, "-m", marks, *paths]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return process.wait(max(deadline_s - time.monotonic(), 1))
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(60)  # pytest heard it, too
        cut(process)
        return INTERRUPTED
    except (subprocess.TimeoutExpired, TerminatedError) as error:
        why = "was told to end" if isinstance(error, TerminatedError) else f"{LIMIT_S:.0f} s are over"
        print(f"\n{why}: cut here, with the stacks of all threads", flush=True)
        cut(process)
        return CUT


def cut(process: subprocess.Popen[bytes]) -> None:
    """SIGABRT, at which Python prints the stacks; the workers first."""
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (*(int(worker) for worker in workers), process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read(outcomes: Path) -> list[Outcome]:
    """The last word of each test: ``cut`` where it has begun and not ended."""
    found = [Outcome(**json.loads(line)) for line in outcomes.read_text().splitlines()]
    return list({one.test: one for one in found}.values())


def print_times(found: Sequence[Outcome]) -> None:
    """A line for each folder, and the slowest tests."""
    folders: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        folders[outcome.folder].append(outcome)
    print(f"\n{'FOLDER':<44} {'TESTS':>6} {'SECONDS':>8} {'NOT PASSED'}")
    for folder, inside in sorted(folders.items(), key=lambda pair: -sum(one.seconds for one in pair[1])):
        others = Counter(one.outcome for one in inside if one.outcome != "passed")
        words = ", ".join(f"{count} {name}" for name, count in others.items())
        print(f"{folder:<44} {len(inside):>6} {sum(one.seconds for one in inside):>8.1f} {words}")
    print("\nSLOWEST")
    for one in sorted(found, key=lambda one: -one.seconds)[:SLOWEST]:
        print(f"{one.seconds:>8.1f} s  {one.test}")


def print_end(found: Sequence[Outcome], codes: Sequence[int], seconds: float) -> None:
    """Reruns, failures, one line of sums."""
    for one in found:
        if one.outcome == "rerun":
            print(f"RERUN   {one.test}")
        if one.outcome == "cut":
            print(f"CUT     {one.test}")
    failed = [one.test for one in found if one.outcome == "failed"]
    for test in failed[:NAMED]:
        print(f"FAILED  {test}")
    if len(failed) > NAMED:
        print(f"FAILED  {len(failed) - NAMED} more")
    for (marks, _), code in zip(RUNS, codes, strict=False):
        if code not in (0, 1):
            print(f"FAILED  the run '{marks}' ended with {code}: what came before says why")
    counts = Counter(one.outcome for one in found)
    words = ", ".join(
        f"{counts[name]} {name}" for name in ("passed", "rerun", "skipped", "cut", "failed") if counts[name]
    )
    print(f"{words or 'no test ran'} in {int(seconds) // 60}:{int(seconds) % 60:02}", flush=True)


def main() -> int:
    """0 when both runs passed."""
    there = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    if there != set(FOLDERS):
        sys.exit(f"expected the folders {sorted(FOLDERS)} in tests/, found {sorted(there)}: name them in FOLDERS")
    signal.signal(signal.SIGTERM, terminated)
    began_s, codes = time.monotonic(), list[int]()
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        outcomes = Path(file.name)
        for marks, options in RUNS:
            codes.append(run(marks, options, outcomes, began_s + LIMIT_S))
            if codes[-1] in (CUT, INTERRUPTED):
                break
        found = read(outcomes)
    print_times(found)
    report = subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=ROOT, capture_output=True, text=True)
    total = next((line for line in report.stdout.splitlines() if line.startswith("TOTAL")), "TOTAL: no coverage")
    print(f"\nBRANCH COVERAGE  {' '.join(total.split())}")
    print_end(found, codes, time.monotonic() - began_s)
    return verdict(codes, found)


def verdict(codes: Sequence[int], found: Sequence[Outcome]) -> int:
    """The first code that is not 0, a signal's as a positive number; 1 when a test failed all the same."""
    first = next((abs(code) for code in codes if code), 0)
    return first or int(any(one.outcome in {"failed", "cut"} for one in found))


def terminated(*_: object) -> None:
    raise TerminatedError


if __name__ == "__main__":
    sys.exit(main())
