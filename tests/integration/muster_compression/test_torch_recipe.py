"""Recipes from a torch module: training, chains, both formats, kills, floors. Each run is a child process."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import psutil
import pytest

from muster_compression.digits.data import digits
from muster_compression.import_model import import_model
from muster_compression.orders import RecipeResult
from muster_compression.process import ChildError, Limits
from muster_compression.run_recipe import run_recipe
from muster_protos.errors import InvalidInputError, MusterError, UsageError
from muster_protos.model import Format

pytestmark = pytest.mark.slow

NET = textwrap.dedent(
    """
    import torch
    from torch import nn

    class Net(nn.Module):
        output_names = ("scores",)
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Dropout(0.1), nn.Linear(128, 10),
            )
        def forward(self, image):
            return self.body(image)

    def make():
        return Net()

    def make_local():
        class Local(Net):
            pass
        torch.manual_seed(1)
        return Local().eval()

    def make_exported():
        return Net().eval(), (torch.zeros(1, 1, 8, 8),)
    """
)
CHAIN = "[{pass: train, fit: {epochs: 3, learning_rate: 0.005}}, export-onnx]"
BOTH = textwrap.dedent(
    f"""
    name: both
    variants:
      - {{name: tuned, passes: {CHAIN}}}
      - name: tuned-int8
        from: tuned
        passes: [onnx-prepare, {{pass: onnx-static-int8, calibration_samples: 64}}]
      - name: lite-int8
        from: tuned
        passes: [export-tflite, {{pass: tflite-static-int8, calibration_samples: 64}}]
    """
)


def one(folder, passes, name="one"):
    path = folder / "one.yaml"
    path.write_text(f"name: one\nvariants:\n  - {{name: {name}, passes: {passes}}}\n")
    return str(path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """net.py and data.npz; the data have a test set, so that judges and x_val is held out."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "net.py").write_text(NET)
    data = digits(8)
    arrays = {}
    for short, split in (("train", data.train), ("val", data.validation), ("test", data.test)):
        arrays |= {f"x_{short}": split.inputs[""], f"y_{short}": split.labels}
    np.savez(folder / "data.npz", **arrays)
    np.savez(folder / "judging.npz", x=arrays["x_val"], y=arrays["y_val"])
    (folder / "both.yaml").write_text(BOTH)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def imported(project, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported")
    source, data = f"{project}/net.py:make", str(project / "data.npz")
    return import_model(source, "digits", 1, data, out, train_epochs=6, cache_dir=cache, threads=1)


@pytest.fixture(scope="module")
def both(project, cache, imported, tmp_path_factory):
    out = tmp_path_factory.mktemp("both")
    recipe = str(project / "both.yaml")
    return run_recipe(imported.parent, recipe, out, floor="0.9rel", cache_dir=cache, threads=1)


def by_name(result: RecipeResult):
    return {item.manifest.name: item for item in result.variants}


def test_an_untrained_module_is_trained_by_the_engine_and_judged_on_the_test_set(imported):
    assert imported.manifest.accuracy.n == 347
    assert imported.manifest.accuracy.value > 0.85
    assert imported.train_epochs == 6


def test_a_chain_gives_both_formats_with_their_own_bindings(imported, both):
    assert both.failed == ()
    variants = by_name(both)
    formats = {name: item.manifest.format for name, item in variants.items()}
    assert formats == {"tuned": Format.ONNX, "tuned-int8": Format.ONNX, "lite-int8": Format.TFLITE}
    parents = [item.manifest.parent_variant_id for item in both.variants]
    assert parents == ["digits.v1.fp32", "digits.v1.tuned", "digits.v1.tuned"]
    assert variants["lite-int8"].manifest.binding.inputs[0].permutation == (0, 3, 1, 2)
    for item in both.variants:
        assert item.is_kept
        assert item.manifest.signature == imported.manifest.signature
        assert item.manifest.accuracy.value > 0.9 * imported.manifest.accuracy.value
        assert "torch" in item.manifest.tool_versions or item.manifest.name == "tuned-int8"
    for name in ("tuned-int8", "lite-int8"):
        assert variants[name].manifest.precision == "int8"
        assert variants[name].manifest.artifact.size_bytes < imported.manifest.artifact.size_bytes
    assert variants["tuned"].manifest.artifact.sha256 != imported.manifest.artifact.sha256


def test_every_step_says_what_it_did_and_what_the_gate_found(both):
    train, export = by_name(both)["tuned"].steps
    assert (train.pass_name, export.pass_name) == ("train", "export-onnx")
    assert train.figures["epochs"] == 3
    assert 0.5 < train.figures["holdout"] <= 1
    assert train.wall_s > 0
    assert train.accuracy.n == export.accuracy.n == 347
    assert abs(train.accuracy.value - export.accuracy.value) < 0.01
    assert export.accuracy.agreement == train.accuracy.agreement
    prepare, quantize = by_name(both)["tuned-int8"].steps
    assert prepare.accuracy is None
    assert quantize.accuracy.value == by_name(both)["tuned-int8"].manifest.accuracy.value


def test_the_same_again_comes_from_the_cache_and_from_nothing_with_the_same_sha256(
    project, cache, imported, both, tmp_path
):
    recipe = str(project / "both.yaml")
    cached = run_recipe(imported.parent, recipe, tmp_path / "a", cache_dir=cache, threads=1)
    fresh = run_recipe(imported.parent, recipe, tmp_path / "b", cache_dir=tmp_path / "cache", threads=1)
    assert all(step.is_cached for item in cached.variants for step in item.steps)
    assert not any(item.steps[0].is_cached for item in fresh.variants[:2])
    for name, item in by_name(both).items():
        assert by_name(cached)[name].manifest.artifact == item.manifest.artifact, name
        assert by_name(fresh)[name].manifest.artifact == item.manifest.artifact, name


def _epoch(note):
    """Of a variant's training, as its progress says; 0 when it says something else. Not every epoch is told."""
    found = re.match(r"one: train: train: epoch (\d+) of", note)
    return int(found[1]) if found else 0


def _kill_after(epoch):
    """Kills the child for good as soon as it says that it is further."""

    def on_progress(ratio, note):
        if _epoch(note) > epoch:
            for child in psutil.Process().children():
                if "muster_compression.child" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)

    return on_progress


def test_a_killed_training_goes_on_where_it_was_and_gives_the_same_bytes(project, cache, imported, tmp_path):
    recipe = one(tmp_path, "[{pass: train, fit: {epochs: 30, learning_rate: 0.003}}, export-onnx]")

    def run(out, cache_dir, on_progress=None):
        return run_recipe(imported.parent, recipe, tmp_path / out, on_progress, cache_dir=cache_dir, threads=1)

    with pytest.raises(ChildError, match="killed by SIGKILL"):
        run("killed", cache, _kill_after(2))
    assert not (tmp_path / "killed").exists()
    kept = list((cache / "checkpoints").rglob("*.pt"))
    assert [path.name for path in kept] == ["train.pt"]
    notes = []
    resumed = run("resumed", cache, lambda ratio, note: notes.append(note))
    first = next(note for note in notes if _epoch(note))
    assert _epoch(first) > 2
    assert first.endswith(" left")
    assert not any((cache / "checkpoints").rglob("*.pt"))
    (told,) = resumed.variants[0].steps[0].resumed
    assert re.match(r"train went on from epoch \d+ of 30", told)
    assert f"one, train: {told}" in resumed.notes
    straight = run("straight", tmp_path / "cache")
    assert not straight.variants[0].steps[0].is_cached
    assert straight.variants[0].steps[0].resumed == ()
    assert resumed.variants[0].manifest.artifact == straight.variants[0].manifest.artifact


def test_a_floor_ends_a_chain_at_a_torch_form_with_its_figures(imported, cache, tmp_path):
    recipe = tmp_path / "mine.yaml"
    diverging = "{epochs: 3, learning_rate: 10, optimizer: sgd, schedule: constant}"
    spoiling = "{epochs: 1, learning_rate: 0.3, optimizer: sgd, schedule: constant}"
    recipe.write_text(
        "name: mine\nvariants:\n"
        "  - {name: plain, passes: [export-onnx]}\n"
        f"  - {{name: lost, passes: [{{pass: train, fit: {diverging}}}, export-onnx]}}\n"
        f"  - {{name: worse, passes: [{{pass: train, fit: {spoiling}}}, export-tflite]}}\n"
        "  - {name: child, from: worse, passes: [export-tflite]}\n"
    )
    result = run_recipe(imported.parent, str(recipe), tmp_path / "out", floor="0.98rel", cache_dir=cache, threads=1)
    assert [item.manifest.name for item in result.variants] == ["plain"]
    assert result.variants[0].manifest.artifact == imported.manifest.artifact
    failed = {item.name: item for item in result.failed}
    assert failed["lost"].reason.startswith("train diverged in epoch")
    assert failed["lost"].steps == ()
    assert failed["worse"].reason.startswith("dropped after train: accuracy ")
    assert "under the floor of" in failed["worse"].reason
    (step,) = failed["worse"].steps
    assert f"{step.accuracy.value:.2%}" in failed["worse"].reason
    assert step.reason in failed["worse"].reason
    assert failed["child"].reason == "its parent worse was dropped or could not be made"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in result.variants[0].files
    )


def test_an_archive_takes_exports_only_and_says_so(project, tmp_path, cache):
    archive = tmp_path / "net.pt2"
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from net import Net; torch.manual_seed(0);"
        "torch.export.save(torch.export.export(Net().eval(), (torch.zeros(1, 1, 8, 8),)), sys.argv[2])"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(project), str(archive)], check=True)
    model = import_model(str(archive), "net", 1, str(project / "data.npz"), tmp_path / "model")
    assert [spec.name for spec in model.signature.inputs] == ["image"]
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nvariants:\n  - {name: lite, passes: [export-tflite]}\n"
        f"  - {{name: tuned, passes: {CHAIN}}}\n  - {{name: again, passes: [export-onnx]}}\n"
    )
    result = run_recipe(model.parent, str(recipe), tmp_path / "out", cache_dir=cache)
    assert [item.manifest.name for item in result.variants] == ["lite", "again"]
    assert by_name(result)["again"].manifest.artifact == model.manifest.artifact
    assert by_name(result)["lite"].manifest.accuracy.agreement == 1.0
    (failed,) = result.failed
    assert "holds a fixed graph" in failed.reason
    assert "file.py:function" in failed.reason


@pytest.mark.parametrize(
    ("function", "data", "words"),
    [
        ("make_local", "data.npz", "Local cannot be kept between passes: .* top level of their file"),
        (
            "make_exported",
            "judging.npz",
            "train trains: expected labelled training samples, found none; add x_train and",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(project, cache, tmp_path, function, data, words):
    model = import_model(f"{project}/net.py:{function}", "m", 1, str(project / data), tmp_path / "model")
    with pytest.raises(MusterError, match=words) as caught:
        run_recipe(model.parent, one(tmp_path, CHAIN), tmp_path / "out", cache_dir=cache)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_source_that_gives_another_model_now_is_refused(project, cache, tmp_path):
    (tmp_path / "net.py").write_text(NET.replace("return Net()\n", "torch.manual_seed(1); return Net().eval()\n", 1))
    model = import_model(f"{tmp_path}/net.py:make", "m", 1, str(project / "data.npz"), tmp_path / "model")
    (tmp_path / "net.py").write_text(NET.replace("return Net()\n", "torch.manual_seed(2); return Net().eval()\n", 1))
    with pytest.raises(InvalidInputError, match=r"net.py:make: expected the module that was imported, found one that"):
        run_recipe(model.parent, one(tmp_path, CHAIN), tmp_path / "out", cache_dir=cache)


def test_a_model_of_a_file_says_that_its_torch_source_is_needed(model_path, data_path, tmp_path, cache):
    model = import_model(str(model_path), "m", 1, str(data_path), tmp_path / "model")
    with pytest.raises(InvalidInputError, match=r"starts from a torch module, .* \(--model net.py:make\)"):
        run_recipe(model.parent, one(tmp_path, CHAIN), tmp_path / "out", cache_dir=cache)


def test_a_full_disk_is_one_line_and_leaves_nothing(project, cache, imported, tmp_path):
    limits = Limits(file_bytes=4000)
    with pytest.raises(MusterError, match="File too large") as caught:
        run_recipe(imported.parent, one(tmp_path, CHAIN), tmp_path / "out", cache_dir=tmp_path / "cache", limits=limits)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not any((tmp_path / "cache").rglob("*.partial"))


def test_epochs_need_a_function_and_samples(project, model_path, data_path, tmp_path):
    with pytest.raises(UsageError, match=r"--train-epochs trains what file.py:function returns, found classifier.onnx"):
        import_model(str(model_path), "m", 1, str(data_path), tmp_path / "out", train_epochs=2)
    with pytest.raises(InvalidInputError, match=r"--train-epochs: .* add x_train and y_train"):
        import_model(f"{project}/net.py:make", "m", 1, str(project / "judging.npz"), tmp_path / "out", train_epochs=2)


def test_a_stop_during_a_training_ends_it_and_keeps_its_checkpoint(project, imported, tmp_path):
    stop = threading.Event()

    def on_progress(ratio, note):
        if _epoch(note) > 2:
            stop.set()

    recipe = one(tmp_path, "[{pass: train, fit: {epochs: 500, learning_rate: 0.001}}, export-onnx]")
    with pytest.raises(InterruptedError):
        run_recipe(imported.parent, recipe, tmp_path / "out", on_progress, stop=stop, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "cache" / "checkpoints").rglob("*.pt")] == ["train.pt"]


def test_a_silent_child_is_taken_for_dead(tmp_path):
    (tmp_path / "net.py").write_text("import time\ndef make():\n    time.sleep(600)\n")
    with pytest.raises(ChildError, match="said nothing for 5 s and was ended"):
        import_model(f"{tmp_path}/net.py:make", "m", 1, "", tmp_path / "out", limits=Limits(silence_s=5.0))
