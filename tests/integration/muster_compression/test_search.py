"""A search over a recipe's free parameters, with real passes, children and latencies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from muster_compression.cli import main
from muster_compression.recipe import load_recipe
from muster_compression.run_file import load_run
from muster_compression.search.lock import alone_in
from muster_compression.search.log import LOG_FILE

RECIPE = {
    "name": "free",
    "variants": [
        {
            "name": "small",
            "formats": ["onnx"],
            "passes": [
                "onnx-prepare",
                {"pass": "onnx-static-int8", "calibration_samples": 16, "per_channel": {"choices": [True, False]}},
            ],
        },
        {"name": "odd", "formats": ["onnx"], "passes": ["onnx-fp16", "onnx-static-int8"]},
    ],
}


@pytest.fixture
def command(tmp_path, model_path, data_path, monkeypatch):
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "free.yaml").write_text(yaml.safe_dump(RECIPE))
    options = ["--model", str(model_path), "--data", str(data_path), "--out", str(tmp_path / "out")]
    return ["search", *options, "--recipe", str(tmp_path / "free.yaml"), "-o", "json"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_keeps_the_frontier_explains_the_rest_and_goes_on_where_it_was(command, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*command, "--budget", "1"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert [item["point"]["number"] for item in first["search"]["verdicts"]] == [1]
    assert first["search"]["ended"] == "the budget"
    assert first["search"]["is_ranked_apart"] is False
    assert "only 10 samples are held out, at least 50 are needed" in first["search"]["ranked_on"]
    assert "optimistic" in first["search"]["ranked_on"]

    assert main([*command, "--budget", "9"]) == 0
    told = json.loads(capsys.readouterr().out)
    points = [item["point"] for item in told["search"]["verdicts"]]
    assert [point["number"] for point in points] == [1, 2, 3]
    assert points[0] == first["search"]["verdicts"][0]["point"]  # from the log
    assert told["search"]["ended"].startswith("the space")
    fates = told["search"]["verdicts"]
    failed = [item for item in fates if item["point"]["failed"]]
    assert [item["point"]["variant"] for item in failed] == ["odd"]
    assert "float" in failed[0]["reason"]
    small = [item for item in fates if item["point"]["variant"] == "small"]
    assert {item["point"]["values"]["small.onnx-static-int8.per_channel"] for item in small} == {True, False}
    assert all(item["point"]["latency_ms"] > 0 for item in small)

    chosen = [item["point"] for item in small if item["is_chosen"]]
    made = {row["name"]: row for row in told["variants"]}
    assert set(made) == {f"small-{point['number']}" for point in chosen}
    for point in chosen:
        row = made[f"small-{point['number']}"]
        assert (row["sha256"], row["size_bytes"]) == (point["sha256"], point["size_bytes"])
        assert row["latency_ms"] == pytest.approx(point["latency_ms"], rel=1e-3)
        assert row["recipe"] == "free-frontier"
    assert {item.name for item in load_recipe(str(out / "frontier.yaml")).variants} == set(made)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]

    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "small.onnx-static-int8.per_channel = " in page
    assert "ended by the space" in page
    assert "only 10 samples are held out" in page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_worth_keeping_is_infeasible_with_the_reason(command, tmp_path, capsys):
    passes = ["onnx-fp16", RECIPE["variants"][0]["passes"][1]]
    only_odd = {"name": "odd", "variants": [{"name": "twice", "formats": ["onnx"], "passes": passes}]}
    (tmp_path / "free.yaml").write_text(yaml.safe_dump(only_odd))
    assert main([*command, "--budget", "2", "--no-latency"]) == 7
    said = capsys.readouterr()
    assert said.out == ""
    assert len([line for line in said.err.splitlines() if "%" not in line[:4]]) == 1  # but for lines of progress
    assert "none of 2 points is worth keeping (2 failed); the first: onnx-static-int8" in said.err
    assert (tmp_path / "out" / LOG_FILE).read_text().count("\n") == 3
    run = load_run(tmp_path / "out")
    assert (run.baseline.format, run.variants) == ("onnx", ())
    assert [(item.name, [step.pass_name for step in item.steps]) for item in run.failed] == [
        ("twice-1", ["onnx-fp16"]),
        ("twice-2", ["onnx-fp16"]),
    ]
    assert all(item.reason.startswith("failed: onnx-static-int8") for item in run.failed)
    assert len(run.search.verdicts) == 2


@pytest.fixture
def apart(arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """A test set judges; of the held-out samples every fourth has a wrong label."""
    labels = np.array(arrays["y_val"])
    labels[::4] = (labels[::4] + 1) % 5
    judging = {"x_test": arrays["x_train"][:60], "y_test": arrays["y_train"][:60]}
    path = tmp_path / "apart.npz"
    np.savez(
        path,
        x_train=arrays["x_train"][60:],
        y_train=arrays["y_train"][60:],
        x_val=arrays["x_val"],
        y_val=labels,
        **judging,
    )
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_held_out_samples_rank_and_only_what_was_chosen_is_judged(command, apart, tmp_path, capsys):
    options = [str(apart) if item.endswith("data.npz") else item for item in command]
    assert main([*options, "--budget", "2", "--no-latency", "--floor", "0.7"]) == 0
    told = json.loads(capsys.readouterr().out)
    search = told["search"]
    assert search["is_ranked_apart"] is True
    assert search["ranked_on"].startswith("64 held-out samples")
    assert search["baseline_ranked"] == 0.75
    assert told["baseline"]["accuracy"] == 1.0
    rows = {row["name"]: row for row in told["variants"]}
    chosen = [item for item in search["verdicts"] if item["is_chosen"]]
    assert chosen
    for item in chosen:
        row = rows[item["point"]["variant"] + f"-{item['point']['number']}"]
        assert item["point"]["accuracy"] <= 0.8
        assert item["judged"]["accuracy"] == row["accuracy"] >= 0.9
        assert (row["samples"], item["point"]["sha256"]) == (60, row["sha256"])
    assert [item["judged"] for item in search["verdicts"] if not item["is_chosen"]].count(None) == 2 - len(chosen)
    assert main(["report", str(tmp_path / "out")]) == 0
    assert "64 held-out samples" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_judging_samples_drop_is_told_and_ends_with_8(command, apart, tmp_path, capsys, arrays):
    """The other way round: held-out labels are right, and a quarter of those that judge is wrong."""
    with np.load(apart) as found:
        held = dict(found)
    held["x_val"] = np.concatenate([arrays["x_train"][:1], arrays["x_val"][1:]])  # one that judges, too: a note
    held["y_val"] = np.concatenate([arrays["y_train"][:1], arrays["y_val"][1:]])
    held["y_test"] = np.where(np.arange(60) % 4, held["y_test"], (held["y_test"] + 1) % 5)
    np.savez(apart, **held)
    options = [str(apart) if item.endswith("data.npz") else item for item in command]
    assert main([*options, "--budget", "1", "--no-latency", "--floor", "0.85"]) == 8
    told = json.loads(capsys.readouterr().out)
    assert [row["kept"] for row in told["variants"]] == [False]
    assert sum(": 1 of 64 samples that are held out judge, too" in note for note in told["notes"]) == 1
    (verdict,) = told["search"]["verdicts"]
    assert verdict["point"]["under_floor"] == ""
    assert "under the floor" in verdict["judged"]["under_floor"]


def test_the_folder_is_locked_before_the_import(command, tmp_path, capsys):
    with alone_in(tmp_path / "out"):
        assert main(command) == 1
        assert "another search works in" in capsys.readouterr().err
        assert not any((tmp_path / "out").iterdir())


def test_what_is_wrong_is_found_before_anything_runs(command, tmp_path, capsys):
    (tmp_path / "free.yaml").write_text(yaml.safe_dump(RECIPE).replace("- true", "- 7"))
    assert main(command) == 2
    assert "per_channel: expected" in capsys.readouterr().err
    assert main([*command, "--budget", "much"]) == 2
    assert "expected a budget of points" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
