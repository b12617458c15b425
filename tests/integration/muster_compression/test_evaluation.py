"""What judges a variant: data and metrics of the user's own, calibration, and data that cannot judge."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest

from muster_compression.cli import main
from muster_compression.import_model import import_model
from muster_compression.run_recipe import run_recipe
from muster_protos.errors import InvalidInputError, UsageError

MINE = """
import numpy as np

def make():
    with np.load({data!r}) as arrays:
        return dict(arrays)

def errors_per_hundred(predictions, labels):
    return 100 * float((predictions.argmax(1) != labels).mean())
errors_per_hundred.higher_is_better = False
"""


@pytest.fixture
def mine(tmp_path, data_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(data=str(data_path)))
    return path


def test_data_and_metric_may_be_functions_and_the_floor_follows_the_metric(
    mine, model_path, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    options = ["--data", f"{mine}:make", "--metric", f"{mine}:errors_per_hundred", "--no-latency", "-o", "json"]
    status = main(["run", "--model", str(model_path), *options, "--out", str(tmp_path / "out"), "--floor", "30"])
    said = capsys.readouterr()
    assert status == 0, said.err
    told = json.loads(said.out)
    assert (told["baseline"]["metric"], told["baseline"]["accuracy"]) == ("user:errors_per_hundred:min", 0.0)
    for row in told["variants"]:
        assert row["metric"] == "user:errors_per_hundred:min"
        assert 0 <= row["accuracy"] <= 30
        assert row["accuracy_ci"][0] <= row["accuracy"] <= row["accuracy_ci"][1]


def test_a_recipe_for_a_model_with_an_own_metric_needs_it(mine, model_path, tmp_path):
    metric = f"{mine}:errors_per_hundred"
    model = import_model(str(model_path), "m", 1, f"{mine}:make", tmp_path / "model", own_metric=metric)
    with pytest.raises(InvalidInputError, match=r"--metric metrics\.py:errors_per_hundred"):
        run_recipe(model.parent, "quick", tmp_path / "out", cache_dir=tmp_path / "cache")


def test_a_variant_has_its_temperature_and_what_scaling_gives(model_path, tmp_path):
    """Labels drawn from the model's own scores divided by three: it is three times too sure."""
    random = np.random.default_rng(1)
    images = random.normal(0, 1, (500, 3, 12, 12)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    scores = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images]) / 3
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(5, p=row / row.sum()) for row in chances.astype(np.float64)])
    np.savez(tmp_path / "data.npz", x_val=images, y_val=labels)
    model = import_model(str(model_path), "m", 1, str(tmp_path / "data.npz"), tmp_path / "model").manifest
    assert model.calibration_temperature == pytest.approx(3, rel=0.15)
    assert model.calibrated_ece < model.accuracy.ece / 2


def test_a_metric_that_nobody_knows_is_refused(model_path, data_path, tmp_path):
    with pytest.raises(UsageError, match=r"expected a metric of accuracy, .*, found 'f1'"):
        import_model(str(model_path), "m", 1, str(data_path), tmp_path / "model", metric="f1")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_val": np.ones(64, int)}, "expected labels of at least 2 classes, found only [1]"),
        (
            {"x_val": np.full((64, 3, 12, 12), np.nan, np.float32)},
            "expected finite values, found NaN or infinity in val",
        ),
        (
            {"x_val": np.zeros((64, 3, 9, 9), np.float32)},
            "expected samples of shape [3, 12, 12] for 'image', found [3, 9",
        ),
        ({"x_val": np.zeros((3, 3, 12, 12)), "y_val": np.arange(3)}, "expected at least 4 samples in val, found 3"),
        ({"y_val": np.arange(64)}, "expected labels 0 to 4 as the model has 5 classes, found 0 to 63"),
        ({"y_train": np.arange(96) % 6}, "expected y_train of 0 to 4 as the model has 5 classes, found 0 to 5"),
    ],
)
def test_data_that_cannot_judge_is_one_line_and_leaves_nothing(change, words, model_path, arrays, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", **{**arrays, **change})
    status = main(
        ["run", "--model", str(model_path), "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "out")]
    )
    said = capsys.readouterr()
    assert status == 1
    assert said.out == ""
    (line,) = [line for line in said.err.splitlines() if "%" not in line[:4]]  # but for lines of progress
    assert line.startswith("error: ")
    assert words in said.err
    assert not (tmp_path / "out").exists()


def test_the_outputs_of_a_run_are_shown_compared_and_reported(model_path, data_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    assert main(["run", "--model", str(model_path), "--data", str(data_path), "--out", str(out), "--no-latency"]) == 0
    tree = capsys.readouterr().out.splitlines()
    assert tree[0].startswith("classifier:1 fp32")
    assert tree[1].startswith(" ├─ fp16")
    assert main(["show", str(out / "classifier.v1.fp16.onnx")]) == 0
    shown = capsys.readouterr().out
    assert "classifier.v1.fp16" in shown
    assert "onnx-fp16                " in shown
    files = [str(out / f"classifier.v1.{name}.onnx") for name in ("fp32", "int8-static")]
    assert main(["compare", *files, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert next(item for item in told["differences"] if item["figure"] == "size_bytes")["ratio"] > 1
    assert told["verdict"].startswith("accuracy: ")
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    for words in ("onnx-static-int8", "calibration_samples: 256", "Environment"):
        assert words in page
