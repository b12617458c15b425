"""A search whose points train: they are ranked on held-out samples, which is no leak; a real one ends the search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from muster_compression.cli import main
from muster_compression.dataset.load import load_data

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).eval()
"""
FIT = {"epochs": {"choices": [1, 2]}, "learning_rate": 0.01, "batch_size": 64}
RECIPE = {"name": "free", "variants": [{"name": "tuned", "passes": [{"pass": "train", "fit": FIT}, "export-onnx"]}]}


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    """8 x 8 digits in three parts that share no sample."""
    found = load_data("builtin:digits")
    splits = [split for split in (found.train, found.validation, found.test) if split is not None]
    x = np.concatenate([next(iter(split.inputs.values())) for split in splits])
    x = x.reshape(-1, 1, 8, 8, 8, 8).mean((3, 5)).astype(np.float32)
    y = np.concatenate([split.labels for split in splits if split.labels is not None])
    cuts = {"train": slice(0, 900), "val": slice(900, 1200), "test": slice(1200, 1500)}
    return {f"{axis}_{key}": values[cut] for key, cut in cuts.items() for axis, values in (("x", x), ("y", y))}


def searched(folder: Path, arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    monkeypatch.setenv("MUSTER_CACHE", str(folder / "cache"))
    (folder / "net.py").write_text(NET)
    (folder / "free.yaml").write_text(yaml.safe_dump(RECIPE))
    np.savez(folder / "data.npz", **arrays)
    given = ["--model", f"{folder}/net.py:make", "--data", f"{folder}/data.npz", "--recipe", f"{folder}/free.yaml"]
    return main(["search", *given, "--out", str(folder / "out"), "--budget", "2", "--no-latency", "-o", "json", *more])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("absent", ["", "val"])
def test_points_that_train_are_ranked_on_what_is_held_out(digits, absent, tmp_path, monkeypatch, capsys):
    arrays = {key: values for key, values in digits.items() if not absent or not key.endswith(absent)}
    assert searched(tmp_path, arrays, monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)["search"]
    assert told["is_ranked_apart"] is True
    assert told["ranked_on"].startswith("90 held-out samples" if absent else "300 held-out samples")
    assert [item["point"]["failed"] for item in told["verdicts"]] == ["", ""]
    chosen = [item["judged"]["accuracy"] for item in told["verdicts"] if item["is_chosen"]]
    assert chosen
    assert min(chosen) > 0.3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_judging_samples_that_train_end_the_search_before_its_first_point(digits, tmp_path, monkeypatch, capsys):
    leaking = digits | {"x_test": digits["x_train"][:300], "y_test": digits["y_train"][:300]}
    assert searched(tmp_path, leaking, monkeypatch) == 1
    said = capsys.readouterr().err
    assert "found that 300 of 300 samples that judge are among the 900 that train" in said
    assert "points" not in said
