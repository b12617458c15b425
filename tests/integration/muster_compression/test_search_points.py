"""What a search keeps of a point, what it does not, and when it is another search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from muster_compression.import_model import import_model
from muster_compression.nothing_made import nothing_made
from muster_compression.orders import FailedVariant, Holdout, ImportedModel, RecipeResult
from muster_compression.process import ChildError
from muster_compression.search import evaluate
from muster_compression.search.evaluate import Asked, Evaluator
from muster_compression.search.identity import search_identity
from muster_compression.search.space import Space, load_space
from muster_protos.errors import InvalidInputError, MissingExtraError, NotFoundError, PermanentError, TemporaryError

INT8 = {"pass": "onnx-static-int8", "calibration_samples": 16, "per_channel": {"choices": [True, False]}}
CHOICE = "small.onnx-static-int8.per_channel"
METRIC = "def share(predictions, labels):\n    return float((predictions.argmax(-1) == labels).mean())\n"
NET = "from torch import nn\nfrom width import WIDTH\ndef make():\n    return nn.Linear(WIDTH, 5)\n"


def space_of(folder: Path, *passes: object) -> Space:
    path = folder / "free.yaml"
    variant = {"name": "small", "formats": ["onnx"], "passes": list(passes)}
    path.write_text(yaml.safe_dump({"name": "free", "variants": [variant]}))
    return load_space(str(path))


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metric") / "metrics.py"
    path.write_text(METRIC)
    return path


@pytest.fixture(scope="module")
def imported(
    model_path: Path, data_path: Path, metric: Path, tmp_path_factory: pytest.TempPathFactory
) -> ImportedModel:
    out = tmp_path_factory.mktemp("in")
    return import_model(str(model_path), "m", 1, str(data_path), out, own_metric=f"{metric}:share")


def test_a_child_that_dies_is_no_failed_point(imported, metric, tmp_path):
    dying = tmp_path / "metrics.py"
    dying.write_text("import os\n" + METRIC.replace("    return", "    os._exit(9)\n    return"))
    asked = Asked(tmp_path / "out", own_metric=f"{dying}:share", cache_dir=tmp_path / "cache", measure_latency=False)
    asked.out_dir.mkdir()
    evaluator = Evaluator(space_of(tmp_path, "onnx-prepare", INT8), imported.parent, asked)
    with pytest.raises(ChildError, match="ended with status 9"):
        evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None)
    assert not any(asked.out_dir.iterdir())


def test_a_point_that_cannot_be_made_says_how_far_it_came(imported, metric, tmp_path):
    asked = Asked(tmp_path, own_metric=f"{metric}:share", cache_dir=tmp_path / "cache", measure_latency=False)
    evaluator = Evaluator(space_of(tmp_path, "onnx-fp16", INT8), imported.parent, asked)
    point = evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None)
    assert point.failed.startswith("onnx-static-int8")
    assert [step.pass_name for step in point.steps] == ["onnx-fp16"]


@pytest.mark.parametrize(
    ("error", "is_point"),
    [
        (nothing_made(RecipeResult((), (FailedVariant("small", "odd"),))), True),
        (InvalidInputError("300 of 300 samples"), False),
        (MissingExtraError("needs optuna"), False),
        (NotFoundError("no data file"), False),
        (TemporaryError("later"), False),
        (PermanentError("No space left on device"), False),
    ],
)
def test_only_what_the_values_are_to_blame_for_is_a_failed_point(imported, tmp_path, monkeypatch, error, is_point):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(evaluate, "run_recipe", fail)
    evaluator = Evaluator(space_of(tmp_path, "onnx-prepare", INT8), imported.parent, Asked(tmp_path))
    if is_point:
        assert evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None).failed == "odd"
    else:
        with pytest.raises(type(error), match=str(error)):
            evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None)


def test_values_that_do_not_go_together_are_a_failed_point(imported, tmp_path):
    free = space_of(tmp_path, "onnx-prepare", INT8)
    free.raw["variants"][0]["passes"][1]["calibration_samples"] = -1  # whatever the domains' ends said
    evaluator = Evaluator(free, imported.parent, Asked(tmp_path, measure_latency=False))
    point = evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None)
    assert "calibration_samples" in point.failed


def test_a_metric_that_is_gone_meanwhile_is_no_failed_point(imported, tmp_path):
    asked = Asked(tmp_path, own_metric=f"{tmp_path}/gone.py:share", cache_dir=tmp_path / "cache", measure_latency=False)
    evaluator = Evaluator(space_of(tmp_path, "onnx-prepare", INT8), imported.parent, asked)
    with pytest.raises(NotFoundError, match=r"no file .*gone\.py"):
        evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None)


@pytest.mark.parametrize(
    ("missing", "error"), [({"is_file_missing": True}, NotFoundError), ({"is_extra_missing": True}, MissingExtraError)]
)
def test_what_is_missing_below_the_point_is_no_failed_point_either(imported, tmp_path, monkeypatch, missing, error):
    def fail(*_: object, **__: object) -> None:
        failed = FailedVariant("first", "no file net.py", **missing), FailedVariant("small", "its parent first was")
        raise nothing_made(RecipeResult((), failed))

    monkeypatch.setattr(evaluate, "run_recipe", fail)
    evaluator = Evaluator(space_of(tmp_path, "onnx-prepare", INT8), imported.parent, Asked(tmp_path))
    with pytest.raises(error, match=r"no file net\.py"):
        evaluator.evaluate(1, 0, {CHOICE: True}, lambda ratio, note: None)


def test_samples_threads_seed_and_everybodys_code_make_another_search(imported, metric, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "width.py").write_text("WIDTH = 4\n")
    student: dict[str, object] = {
        "pass": "distill",
        "student": f"{tmp_path}/net.py:make",
        "temperature": {"choices": [2.0, 4.0]},
    }
    student["fit"] = {"epochs": 1}
    space = space_of(tmp_path, student, "export-onnx")
    asked = Asked(tmp_path, own_metric=f"{metric}:share", threads=1)
    holdout = Holdout(samples_sha256="a")

    def identity(asked: Asked = asked, holdout: Holdout = holdout) -> str:
        return search_identity(imported, space, asked, holdout)

    known = identity()
    found = {
        identity(replace(asked, threads=2)),
        identity(replace(asked, seed=1)),
        identity(holdout=replace(holdout, samples_sha256="b")),
        identity(holdout=replace(holdout, samples=64)),
    }
    (tmp_path / "width.py").write_text("WIDTH = 5\n")  # the student's file imports it
    found.add(identity())
    (tmp_path / "width.py").write_text("WIDTH = 4\n")
    metric.write_text(METRIC + "# changed\n")
    found.add(identity())
    metric.write_text(METRIC)
    assert len(found | {known}) == 7
    assert identity() == identity(replace(asked, seed=0)) == known  # the recipe's own seed is 0
