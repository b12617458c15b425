import json

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
    ],
)
def test_an_error_is_one_line_on_stderr_with_its_exit_code(arguments, status, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("source", "name"), [("a/my net.onnx", "my-net"), ("net.py:make", "net"), ("é.onnx", "model")])
def test_a_model_gets_a_valid_name(source, name):
    assert model_name(source) == name
