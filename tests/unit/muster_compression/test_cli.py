import json
from pathlib import Path

import pytest

from muster_compression.cli import main
from muster_compression.recipe import load_recipe, template_names
from muster_compression.report import model_name


def test_recipes_are_listed_and_shown_as_json(capsys):
    assert main(["recipes"]) == 0
    assert "quick" in capsys.readouterr().out
    assert main(["recipes", "quick", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "quick"


@pytest.mark.parametrize("name", template_names())
def test_a_recipe_is_printed_as_yaml_that_is_the_same_recipe(name, capsys, tmp_path):
    assert main(["recipes", name]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_recipe(str(path)) == load_recipe(name)
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["recipes", "quik"], 4, "did you mean 'quick'"),
        (["run", "--model", "none.onnx", "--out", "out"], 4, "no model file none.onnx"),
        (["run", "--model", "none.onnx", "--recipe", "edgy", "--out", "out"], 4, "no recipe 'edgy'"),
        (["show", "none.onnx"], 4, "no manifest"),
        (["compare", "none.onnx", "other.onnx"], 4, "no manifest"),
        (["report", "."], 4, "no run.json in ."),
        (
            ["run", "--model", "none.onnx", "--recipe", "free.yaml", "--out", "out"],
            2,
            "muster-compress search --recipe",
        ),
        (["run", "--model", "none.onnx", "--floor", "banana", "--out", "out"], 2, "expected a floor"),
        (["run", "--model", "none.onnx", "--name", "two words", "--out", "out"], 2, "expected a model name"),
        (["run", "--model", "none.onnx", "--recipe", "broken.yaml", "--out", "out"], 2, "no pass 'nosuch'"),
        (["recipes", "broken.yaml"], 2, "no pass 'nosuch'"),
        (["run", "--model", "code.py", "--out", "out"], 2, "code.py:make"),
        (
            ["run", "--model", "m.onnx", "--data", "d.npz", "--floor", "1.5", "--out", "out"],
            2,
            "say which, as in --metric",
        ),
        (["run", "--model", "m.onnx", "--floor", "1.5", "--out", "out"], 2, "at most 1 for agreement"),
        (
            ["run", "--model", "m.onnx", "--data", "d.npz", "--metric", "auc", "--floor", "2", "--out", "out"],
            2,
            "at most 1 for auc",
        ),
        (
            ["run", "--model", "m.onnx", "--recipe", "edge", "--out", "out"],
            1,
            "--model net.py:make instead of the file",
        ),
        (["run", "--model", "m.tflite", "--recipe", "onnx.yaml", "--out", "out"], 1, "has nothing for tflite models"),
        (
            ["search", "--model", "m.tflite", "--recipe", "free.yaml", "--out", "out"],
            1,
            "has nothing for tflite models",
        ),
    ],
)
def test_an_error_is_one_line_on_stderr_with_its_exit_code(arguments, status, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("name: x\nvariants: [{name: a, passes: [nosuch]}]\n")
    Path("code.py").write_text("")
    Path("m.onnx").write_bytes(b"\x08\x08")
    Path("m.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3")
    Path("onnx.yaml").write_text("name: x\nvariants: [{name: a, formats: [onnx], passes: [onnx-prepare]}]\n")
    Path("free.yaml").write_text(
        "name: x\nvariants: [{name: a, formats: [onnx], passes: "
        "[{pass: onnx-static-int8, calibration_samples: {low: 8, high: 9}}]}]\n"
    )
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
    left = {"broken.yaml", "code.py", "free.yaml", "m.onnx", "m.tflite", "onnx.yaml"}
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["run"],
        ["run", "--model", "x.onnx"],
        ["recipes", "-o", "csv"],
        ["compare", "a.onnx"],
        ["run", "--model", "x", "--out", "y", "--seed", "-1"],
        ["run", "--model", "x", "--out", "y", "--metric", "f1"],
        ["report"],
    ],
)
def test_a_wrong_command_line_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("muster-compress ")


@pytest.mark.parametrize(("source", "name"), [("a/my net.onnx", "my-net"), ("net.py:make", "net"), ("é.onnx", "model")])
def test_a_model_gets_a_valid_name(source, name):
    assert model_name(source) == name
