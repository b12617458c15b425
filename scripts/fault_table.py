"""Run every test that docs/reliability.md names, and the long fault suites; print its table with the results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
_TEST = re.compile(r"`(tests/[^`]+\.py)::(test_\w+)`")


@dataclass(frozen=True)
class Row:
    """One fault: (file, test function) of what covers it."""

    fault: str
    promise: str
    tests: tuple[tuple[str, str], ...]


def read_rows(page: Path = PAGE) -> tuple[Row, ...]:
    """The rows of the page's last table."""
    lines = page.read_text().partition("## Faults\n")[2].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return tuple(Row(fault, promise, tuple(_TEST.findall(tests))) for fault, promise, tests in cells[2:])


def run(rows: tuple[Row, ...]) -> dict[tuple[str, str], str]:
    """What became of each test: passed, skipped, failed or not run."""
    named = {test for row in rows for test in row.tests}
    outcomes: dict[tuple[str, str], str] = {}
    files = sorted({file for file, _ in named})
    pick = " or ".join(sorted({name for _, name in named}))
    for arguments in ([*files, "-m", "not faults", "-k", pick], ["tests", "-m", "faults"]):
        with tempfile.NamedTemporaryFile(suffix=".xml") as report:
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=15", "-q", *arguments]
            subprocess.run([*command, f"--junitxml={report.name}"], cwd=ROOT, check=False)
            _collect(Path(report.name), outcomes)
    return outcomes


def _collect(report: Path, outcomes: dict[tuple[str, str], str]) -> None:
    if not report.stat().st_size:
        return
    for case in ElementTree.parse(report).iter("testcase"):
        parts = case.get("classname", "").split(".")
        while parts and not (ROOT / Path(*parts)).with_suffix(".py").exists():
            parts.pop()
        key = ("/".join(parts) + ".py", case.get("name", "").partition("[")[0])
        found = "failed" if case.find("failure") is not None or case.find("error") is not None else "passed"
        found = "skipped" if case.find("skipped") is not None else found
        worst = {"passed": 0, "skipped": 1, "failed": 2}
        outcomes[key] = max(found, outcomes.get(key, "passed"), key=lambda name: worst[name])


def main() -> int:
    """1 when a test failed or did not run; where CI is set, also when one was skipped."""
    accepted = {"passed"} if os.environ.get("CI") else {"passed", "skipped"}
    rows = read_rows()
    outcomes = run(rows)
    is_good = "failed" not in outcomes.values()
    print(f"\n{'FAULT':<76} {'PROMISE':<15} RESULT")
    for row in rows:
        found = [outcomes.get(test, "not run") for test in row.tests]
        is_good = is_good and all(outcome in accepted for outcome in found)
        print(f"{row.fault[:75]:<76} {row.promise:<15} {', '.join(dict.fromkeys(found))} ({len(found)})")
    skipped = sorted(test for test, outcome in outcomes.items() if outcome == "skipped")
    if skipped:
        print(f"\nSKIPPED, so not shown here: {len(skipped)}")
        print("\n".join(f"  {file}::{name}" for file, name in skipped))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
