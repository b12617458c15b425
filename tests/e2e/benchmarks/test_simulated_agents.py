"""The benchmarks with simulated agents, in small: what they say they measure takes place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def run(script: str, *arguments: str) -> list[dict[str, Any]]:
    found = subprocess.run(
        [sys.executable, str(_BENCHMARKS / script), "-o", "json", *arguments],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    rows: list[dict[str, Any]] = json.loads(found.stdout)
    return rows


def test_simulated_agents_join_and_come_back_over_both_links(mosquitto: str) -> None:
    rows = run("join.py", "--join", "3", "--reconnect", "5")
    assert [(row["what"], row["link"], row["agents"]) for row in rows] == [
        ("join", "grpc", 3),
        ("join", "mqtt", 3),
        ("reconnect, controller killed", "grpc", 5),
        ("reconnect, controller killed", "mqtt", 5),
        ("reconnect, broker killed", "mqtt", 5),
    ]
    for row in rows:
        assert "simulated" in row["agents_are"]
        assert 0 < row["median_seconds"] <= row["seconds"]


def test_every_report_of_simulated_devices_is_stored_once(mosquitto: str) -> None:
    rows = run("ingest.py", "--reports", "400", "--devices", "4")
    assert [(row["link"], row["lost"], row["doubled"]) for row in rows] == [("grpc", 0, 0), ("mqtt", 0, 0)]
    for row in rows:
        assert row["reports_per_s"] > 0
        assert row["said_twice"] > 0


def test_a_fleet_with_churn_is_watched_process_by_process(mosquitto: str) -> None:
    rows = run("soak.py", "--minutes", "0.6", "--warm-up", "0.1", "--agents", "4")
    assert [row["process"] for row in rows] == ["controller", "broker", "agent", "serving child"]
    for row in rows:
        assert row["rss_mib"] > 1
        assert row["low"] <= row["slope_kib_per_min"] <= row["high"]
        assert row["samples"] >= 20
        assert row["joins"] > 4
        assert row["reconnects"] > 0
        assert row["reports"] > 0
