import json
from pathlib import Path

import pytest

from muster_compression.cli import main
from muster_compression.report import model_name


def test_recipes_are_listed_and_shown_as_json(capsys):
    assert main(["recipes"]) == 0
    assert "quick" in capsys.readouterr().out
    assert main(["recipes", "quick", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "quick"


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
    ],
)
def test_an_error_is_one_line_on_stderr_with_its_exit_code(arguments, status, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("name: x\nvariants: [{name: a, passes: [nosuch]}]\n")
    Path("code.py").write_text("")
    Path("free.yaml").write_text(
        "name: x\nvariants: [{name: a, passes: [{pass: onnx-static-int8, calibration_samples: {low: 8, high: 9}}]}]\n"
    )
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"broken.yaml", "code.py", "free.yaml"}


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
