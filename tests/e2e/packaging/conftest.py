"""In a CI run a wheel that could not be tried on one of its Pythons is told at the end, not only as an "s"."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each skipped try of the base wheel."""
    if not os.environ.get("CI"):
        return
    for report in terminalreporter.stats.get("skipped", ()):
        if "test_base_wheel" in report.nodeid:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(f"WARNING: not tried: {report.nodeid}: {reason}", yellow=True, bold=True)
