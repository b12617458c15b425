"""Runs of which something does not come out: what is known of it is kept, and the rest goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import yaml

from muster_compression import chain
from muster_compression.cli import main
from muster_compression.import_model import import_model
from muster_compression.nothing_made import NothingMadeError
from muster_compression.orders import Parent, RecipeOrder
from muster_compression.run_file import load_run
from muster_compression.run_recipe import run_recipe
from muster_compression.runner import do_recipe
from muster_protos.errors import InvalidInputError, NotFoundError

TWICE = {"name": "twice", "formats": ["onnx"], "passes": ["onnx-prepare", "onnx-fp16", "onnx-static-int8"]}
HALF = {"name": "half", "formats": ["onnx"], "passes": ["onnx-prepare", "onnx-fp16"]}


def recipe(folder: Path, *variants: dict[str, object], seed: int = 0) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "seed": seed, "variants": list(variants)}))
    return str(path)


@pytest.fixture(scope="module")
def parent(model_path: Path, data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Parent:
    return import_model(str(model_path), "m", 1, str(data_path), tmp_path_factory.mktemp("in")).parent


def test_a_run_that_made_nothing_leaves_its_steps_and_reasons(model_path, data_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    command = ["run", "--model", str(model_path), "--data", str(data_path), "--out", str(out), "--name", "m"]
    assert main([*command, "--recipe", recipe(tmp_path, TWICE), "--no-latency"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "error: twice: onnx-static-int8" in said.err
    run = load_run(out)
    assert (run.baseline.name, run.variants) == ("fp32", ())
    (failed,) = run.failed
    assert failed.reason.startswith("onnx-static-int8")
    assert [step.pass_name for step in failed.steps] == ["onnx-prepare", "onnx-fp16"]
    assert failed.steps[1].accuracy is not None
    assert main(["report", str(out)]) == 0
    assert "onnx-fp16" in (out / "report.html").read_text()


def test_the_call_says_the_same_and_leaves_no_folder(parent, tmp_path):
    with pytest.raises(NothingMadeError, match="twice: onnx-static-int8") as caught:
        run_recipe(parent, recipe(tmp_path, TWICE), tmp_path / "out", cache_dir=tmp_path / "cache")
    assert [len(item.steps) for item in caught.value.result.failed] == [2]
    assert not (tmp_path / "out").exists()


def test_a_caller_that_does_not_ask_for_failures_gets_an_error(parent, tmp_path):
    order = RecipeOrder(recipe(tmp_path, TWICE), parent, tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(InvalidInputError, match="twice: onnx-static-int8"):
        do_recipe(order, lambda ratio, note: None)


def test_a_variant_whose_files_cannot_be_written_ends_alone(parent, tmp_path):
    (tmp_path / "m.v1.half.onnx").mkdir()  # in the way
    other = {**HALF, "name": "other"}
    order = RecipeOrder(recipe(tmp_path, HALF, other), parent, tmp_path, cache_dir=tmp_path / "cache")
    result = do_recipe(order, lambda ratio, note: None)
    assert [item.manifest.name for item in result.variants] == ["other"]
    (failed,) = result.failed
    assert failed.reason == "its files could not be written: Is a directory"
    assert [step.pass_name for step in failed.steps] == ["onnx-prepare", "onnx-fp16"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_or_broken_disk_is_no_fault_of_the_variant_and_ends_the_run(parent, tmp_path, monkeypatch, number):
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "m.v1.half.onnx":
            raise OSError(number, os.strerror(number), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    order = RecipeOrder(recipe(tmp_path, HALF), parent, tmp_path, cache_dir=tmp_path / "cache", tells_failures=True)
    with pytest.raises(OSError, match=os.strerror(number)):
        do_recipe(order, lambda ratio, note: None)
    assert not list(tmp_path.glob("m.v1.*"))


def test_a_file_that_a_pass_misses_is_told_apart_from_a_pass_that_fails(parent, tmp_path, monkeypatch):
    def vanished(*_: object) -> None:
        raise NotFoundError("no file student.py")

    monkeypatch.setattr(chain, "apply_pass", vanished)
    order = RecipeOrder(recipe(tmp_path, HALF), parent, tmp_path, cache_dir=tmp_path / "cache", tells_failures=True)
    (failed,) = do_recipe(order, lambda ratio, note: None).failed
    assert (failed.reason, failed.is_file_missing, failed.is_extra_missing) == ("no file student.py", True, False)


@pytest.mark.parametrize(("options", "seed"), [([], 3), (["--seed", "0"], 0), (["--seed", "4"], 4)])
def test_a_seed_that_is_asked_for_counts_before_the_recipes_own(
    model_path, data_path, tmp_path, monkeypatch, options, seed
):
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    command = ["run", "--model", str(model_path), "--data", str(data_path), "--out", str(out), "--no-latency"]
    assert main([*command, "--recipe", recipe(tmp_path, HALF, seed=3), *options]) == 0
    assert load_run(out).asked.seed == seed
    manifest = next(out.glob("*.half.manifest.json"))
    assert f'"seed": {seed}' in manifest.read_text()
