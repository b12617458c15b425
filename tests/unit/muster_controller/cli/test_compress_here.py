"""``muster compress --model``: the recipe runs on the user's machine (its children are replaced here), files go in."""

import json
from pathlib import Path

import pytest

from muster_compression.orders import FailedVariant, ImportedModel, RecipeResult, VariantResult
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format, Signature, VariantManifest

pytest.importorskip("torch")


@pytest.fixture
def ran(lab, monkeypatch):
    """What the children were asked for; they answer with three variants, the last of them under the floor."""
    asked = {}

    def variant(folder, name, parent, is_kept=True):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.onnx").write_bytes(name.encode())
        manifest = VariantManifest(name=name, parent_variant_id=f"kws.v1.{parent}", format=Format.ONNX)
        return VariantResult(
            manifest, folder / f"{name}.onnx", folder / "golden", is_kept, "" if is_kept else "under the floor"
        )

    def import_model(source, name, version, data, out_dir, on_progress, **options):
        asked["import"] = (name, version, data, options["metric"])
        asked["baseline"] = Path(source).read_bytes()
        manifest = VariantManifest(variant_id=f"{name}.v{version}.fp32", model_id=name)
        return ImportedModel(Signature(), manifest, out_dir, out_dir, out_dir, None, True, source)

    def run_recipe(parent, recipe, out_dir, on_progress, *, floor):
        asked["parent"], asked["recipe"], asked["floor"] = parent, recipe, floor
        on_progress(0.5, "pruned: train: epoch 1 of 2, loss 0.5, 3 s left")
        made = (
            variant(out_dir, "pruned", "fp32"),
            variant(out_dir, "pruned-int8", "pruned"),
            variant(out_dir, "tiny", "fp32", is_kept=False),
        )
        return RecipeResult(made, (FailedVariant("lost", "train diverged in epoch 2"),), ("trained on 90 samples",))

    monkeypatch.setattr("muster_compression.import_model.import_model", import_model)
    monkeypatch.setattr("muster_compression.run_recipe.run_recipe", run_recipe)
    (lab.folder / "net.py").write_text("def make(): raise SystemExit('never on the controller')\n")
    (lab.folder / "data.npz").write_bytes(b"samples")
    (lab.folder / "mine.yaml").write_text("name: mine\nvariants: [{name: pruned, passes: [train, export-onnx]}]\n")
    return asked


def add_model(muster, lab):
    (lab.folder / "kws.onnx").write_bytes(b"the baseline")
    assert muster("model", "add", "kws.onnx", "--name", "kws").code == 0


def test_variants_come_in_with_their_parents_and_their_recipe(muster, lab, ran):
    add_model(muster, lab)
    arguments = ("--model", "net.py:make", "--data", "data.npz", "--recipe", "mine.yaml", "--floor", "0.9rel")
    said = muster("compress", "kws", *arguments)
    assert said.code == 8
    assert "1 not made (lost), 1 dropped for the floor (tiny); 3 variants are kept" in said.err
    assert "not made: lost: train diverged in epoch 2" in said.err
    assert "note: trained on 90 samples" in said.err
    shown = {
        item["manifest"]["name"]: item["manifest"]
        for item in json.loads(muster("model", "show", "kws", "-o", "json").out)["variants"]
    }
    assert set(shown) == {"fp32", "pruned", "pruned-int8"}
    assert (shown["pruned"]["parent_variant_id"], shown["pruned"]["recipe"]) == ("kws.v1.fp32", "mine")
    assert shown["pruned-int8"]["parent_variant_id"] == "kws.v1.pruned"
    assert ran["parent"].torch_source == f"{lab.folder}/net.py:make"
    assert ran["parent"].data == str(lab.folder / "data.npz")
    assert ran["import"] == ("kws", 1, "data.npz", "accuracy")
    assert ran["floor"] == "0.9rel"
    assert ran["baseline"] == b"the baseline"


def test_the_same_again_changes_nothing_and_other_bytes_are_named(muster, lab, ran, monkeypatch):
    add_model(muster, lab)
    arguments = ("--model", "net.py:make", "--data", "data.npz", "--recipe", "mine.yaml")
    muster("compress", "kws", *arguments)
    again = muster("compress", "kws", *arguments)
    assert "not made: pruned:" not in again.err
    (lab.folder / "other.onnx").write_bytes(b"other bytes")
    assert muster("model", "add", "other.onnx", "--variant-of", "kws", "--name", "pruned").code != 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--model", "net.py:make"), 2, "expected --data with --model"),
        (("--data", "data.npz"), 2, "expected --model with it"),
        (("--model", "data.npz", "--data", "data.npz"), 2, "file.py:function or a .pt2"),
        (("--model", "none.py:make", "--data", "data.npz"), 4, "none.py"),
        (("--model", "net.py:make", "--data", "none.npz"), 4, "none.npz"),
        (("--model", "net.py:make", "--data", "data.npz", "--recipe", "nosuch"), 4, "no recipe 'nosuch'"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(muster, lab, ran, arguments, status, words):
    add_model(muster, lab)
    said = muster("compress", "kws", *arguments)
    assert (said.code, words in said.err, said.out) == (status, True, ""), said.err


def test_a_module_that_is_another_model_sends_nothing(muster, lab, ran, monkeypatch):
    add_model(muster, lab)

    def refuse(*arguments, **options):
        raise InvalidInputError("net.py:make: expected the module that was imported, found one that agrees on 11.0 %")

    monkeypatch.setattr("muster_compression.run_recipe.run_recipe", refuse)
    said = muster("compress", "kws", "--model", "net.py:make", "--data", "data.npz", "--recipe", "mine.yaml")
    assert said.code == 1
    assert "expected the module that was imported" in said.err
    assert len(json.loads(muster("model", "show", "kws", "-o", "json").out)["variants"]) == 1
