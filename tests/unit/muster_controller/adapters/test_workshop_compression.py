"""What the compression package says crosses over to the service whole."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest

from muster_compression import orders, process
from muster_controller.adapters.workshop_compression import CompressionWorkshop
from muster_controller.service.workshop import CompressOrder, ImportOrder, NotMade, Shelved, VariantOrder
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import Signature, VariantManifest

PARENT = Shelved(VariantManifest(variant_id="kws.v1.fp32"), Path("fp32.onnx"))


def variant(name: str, is_kept: bool, reason: str) -> orders.VariantResult:
    return orders.VariantResult(VariantManifest(name=name), Path(name), Path(name + ".npz"), is_kept, reason)


def run(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[object]:
    """Children answer with ``answer``; returns the orders that they get."""
    asked: list[object] = []

    def run_order(order: object, *rest: object) -> object:
        asked.append(order)
        return answer

    monkeypatch.setattr(process, "run_order", run_order)
    return asked


def test_dropped_and_failed_variants_and_notes_reach_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(
        monkeypatch,
        orders.RecipeResult(
            (variant("fp16", True, ""), variant("int8", False, "under the floor")),
            (orders.FailedVariant("pruned", "no layer to prune"),),
            ("calibrated on what judges",),
        ),
    )
    made = CompressionWorkshop().compress(CompressOrder("quick", PARENT), tmp_path, lambda *_: None, threading.Event())
    assert [(item.manifest.name, item.is_kept, item.dropped_reason) for item in made.variants] == [
        ("fp16", True, ""),
        ("int8", False, "under the floor"),
    ]
    assert made.not_made == (NotMade("pruned", "no layer to prune"),)
    assert made.notes == ("calibrated on what judges",)


@pytest.mark.parametrize("is_forced", [False, True])
def test_force_reaches_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_forced: bool) -> None:
    asked = run(monkeypatch, variant("mine", True, ""))
    order = VariantOrder(Path("mine.onnx"), "mine", PARENT, is_forced)
    CompressionWorkshop().import_variant(order, tmp_path, lambda *_: None, threading.Event())
    (sent,) = asked
    assert isinstance(sent, orders.VariantOrder)
    assert sent.is_forced is is_forced


@pytest.mark.parametrize(
    ("recipe", "floor", "error", "words"),
    [
        ("quik", "", NotFoundError, "did you mean 'quick'"),
        ("../quick", "", InvalidInputError, "recipe name"),
        ("name: x\nvariants: [{name: a, passes: [nosuch]}]\n", "", InvalidInputError, "no pass 'nosuch'"),
        ("quick", "banana", InvalidInputError, "expected a floor"),
    ],
)
def test_a_recipe_or_floor_that_is_none_is_refused_before_a_child_starts(recipe, floor, error, words) -> None:
    with pytest.raises(error, match=words):
        CompressionWorkshop().check_recipe(recipe, floor)


def test_what_an_import_noticed_reaches_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = Path("fp32.onnx")
    noticed = ("no batch axis",)
    manifest = VariantManifest(name="fp32")
    run(monkeypatch, orders.ImportedModel(Signature((), ()), manifest, path, path, path, None, False, "", noticed))
    order = ImportOrder(Path("kws.onnx"), "kws", 1)
    made = CompressionWorkshop().import_model(order, tmp_path, lambda *_: None, threading.Event())
    assert made.notes == noticed


def test_an_archive_of_torch_never_reaches_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch unpickles parts of it: the user's own machine exports it instead."""
    asked = run(monkeypatch, None)
    archive = tmp_path / "net"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("net/archive_format", "net/models/model.json", "net/data/sample_inputs/model.pt"):
            file.writestr(name, "")
    workshop, stop = CompressionWorkshop(), threading.Event()
    with pytest.raises(InvalidInputError, match=r"found an archive of torch\.export; `muster model add` exports it"):
        workshop.import_model(ImportOrder(archive, "net", 1), tmp_path, lambda *_: None, stop)
    with pytest.raises(InvalidInputError, match=r"archive of torch\.export"):
        workshop.import_variant(VariantOrder(archive, "mine", PARENT), tmp_path, lambda *_: None, stop)
    assert asked == []
