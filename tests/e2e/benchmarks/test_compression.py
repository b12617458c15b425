"""The benchmark of compression: its plan, and in small (`make test-faults`, a minute) on made-up pictures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster_compression.recipe import template_names

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten kinds of 28 x 28 pictures: stripes of five widths, lying or standing, so that a shift changes no label."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "vision").mkdir()
    random = np.random.default_rng(0)

    def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, 10, count)
        found = random.integers(0, 60, (count, 28, 28))
        for picture, label in zip(found, labels, strict=True):
            (picture if label < 5 else picture.T)[:: 2 + label % 5] += 180
        return found.astype(np.uint8), labels.astype(np.uint8)

    x_train, y_train = pictures(2640)
    x_test, y_test = pictures(200)
    np.savez(folder / "vision" / "mnist_dev.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return folder


def run(data: Path, cache: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.compression", "--data-folder", str(data), "--cache", str(cache)]
    found = subprocess.run(
        [*command, "-o", "json", "--rounds", "2", "--share", "0.5", *arguments],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=_ROOT,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    report: dict[str, Any] = json.loads(found.stdout)
    return report


def test_the_plan_has_every_template_of_every_task_within_the_three_hours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.compression", "--data-folder", str(tmp_path), "--plan"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=_ROOT, check=False)
    assert found.returncode == 0, found.stderr
    *parts, whole = (re.fullmatch(r" *([\d.]+) min  (.+)", line) for line in found.stdout.splitlines())
    assert all(parts)
    minutes = {part[2]: float(part[1]) for part in parts if part}
    assert {name.partition("/")[2] for name in minutes} >= {"teacher", "side-by-side", *template_names()}
    assert whole is not None
    assert whole[2] == "in all"
    assert float(whole[1]) == pytest.approx(sum(minutes.values()), abs=0.1 * len(minutes))
    assert float(whole[1]) <= 180


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_template_is_judged_and_timed_in_both_formats(data: Path, tmp_path: Path) -> None:
    report = run(data, tmp_path, "--task", "mnist", "--template", "quick", "--no-sides")
    assert {(row["format"], row["samples"]) for row in report["teachers"]} == {("onnx", 200), ("tflite", 200)}
    rows = {(row["variant"], row["format"]): row for row in report["runs"][0]["rows"]}
    assert {name for name, _ in rows} >= {"fp16", "int8-static"}
    assert {form for _, form in rows} == {"onnx", "tflite"}
    for key, row in rows.items():
        if key[0] != "int8-static":
            continue
        assert row["teacher_accuracy"] > 0.3  # a tenth would be guessing; it saw 640 pictures four times
        assert row["accuracy"] == pytest.approx(row["teacher_accuracy"], abs=0.05)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert row["agreement"] > 0.9
        assert 3.5 < row["size_ratio"] < 4.5
        assert row["latency_ms"] > 0
        assert row["latency_ratio_low"] <= row["latency_ratio"] <= row["latency_ratio_high"]
    assert not report["is_whole"]
