"""The lean agent's promise: what it holds in memory, joined by mTLS, with one model in its cache, doing nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_BUDGET_RSS_MIB = {"grpc": 52.0, "mqtt": 36.0}
_SCRIPT = Path(__file__).parents[3] / "benchmarks" / "footprint.py"


@pytest.mark.slow
@pytest.mark.alone
def test_an_idle_agent_stays_within_its_memory_budget():
    check_budget("grpc")


@pytest.mark.faults
def test_an_idle_agent_on_a_broker_stays_within_its_memory_budget(mosquitto):
    check_budget("mqtt")


def check_budget(link):
    uncovered = {key: value for key, value in os.environ.items() if not key.startswith("COV")}  # it weighs, too
    found = subprocess.run(
        [sys.executable, str(_SCRIPT), "-o", "json", "--idle", "10", "--link", link],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=uncovered,
    )
    assert found.returncode == 0, found.stderr
    (row,) = json.loads(found.stdout)
    assert set(row) == {"link", "rss_mib", "pss_mib", "cpu_ratio"}
    assert row["link"] == link
    assert 10 < row["pss_mib"] <= row["rss_mib"] <= _BUDGET_RSS_MIB[link]
    assert 0 <= row["cpu_ratio"] < 0.05
