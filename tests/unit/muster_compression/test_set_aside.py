import dataclasses
import json
from pathlib import Path

import pytest

from muster_compression.cli import main
from muster_compression.orders import RecipeResult, VariantResult
from muster_compression.report import fate_of, manifest_of
from muster_compression.run_file import Run, load_run, save_run
from muster_compression.set_aside import with_dropped_aside
from muster_protos.model import ArtifactRef, VariantManifest


def made(folder: Path, name: str, is_kept: bool) -> VariantResult:
    """As a run leaves it in its output folder."""
    manifest = VariantManifest(variant_id=f"m.v1.{name}", name=name, artifact=ArtifactRef("0" * 64, 1))
    paths = folder / f"m.v1.{name}.onnx", folder / f"m.v1.{name}.golden.npz"
    for path in paths:
        path.write_bytes(b"x")
    return VariantResult(manifest, *paths, is_kept=is_kept, reason="" if is_kept else "accuracy 50 %")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_dropped_variants_lie_apart_and_change_their_place_with_the_verdict(tmp_path):
    kept = with_dropped_aside(RecipeResult((made(tmp_path, "a", True),)), tmp_path)
    (tmp_path / "m.v1.a.manifest.json").write_text("{}")
    assert kept.variants[0].artifact_path == tmp_path / "m.v1.a.onnx"
    dropped = with_dropped_aside(RecipeResult((made(tmp_path, "a", False),)), tmp_path)
    assert dropped.variants[0].artifact_path == tmp_path / "dropped" / "m.v1.a.onnx"
    assert names(tmp_path) == {"dropped/m.v1.a.onnx", "dropped/m.v1.a.golden.npz"}
    with_dropped_aside(RecipeResult((made(tmp_path, "a", True),)), tmp_path)
    assert names(tmp_path) == {"m.v1.a.onnx", "m.v1.a.golden.npz"}


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """One that was kept and one that was dropped, each with its manifest."""
    rows = []
    for row in run.variants:
        place = tmp_path if row.kept else tmp_path / "dropped"
        place.mkdir(exist_ok=True)
        manifest = {"variant_id": row.variant_id, "name": row.name, "artifact": {"sha256": "0" * 64, "size_bytes": 1}}
        (place / f"{row.variant_id}.manifest.json").write_text(json.dumps(manifest))
        rows.append(dataclasses.replace(row, path=str(place / f"{row.variant_id}.onnx")))
    save_run(tmp_path, dataclasses.replace(run, variants=tuple(rows)))
    return tmp_path


def test_show_and_compare_say_that_a_variant_was_dropped(folder, capsys):
    bad, good = folder / "dropped" / "m.v1.bad.onnx", folder / "m.v1.slow.onnx"
    assert fate_of(bad, manifest_of(bad)).dropped.startswith("accuracy 50 % is under the floor")
    assert main(["show", str(bad)]) == 0
    assert "dropped: accuracy 50 % is under the floor" in capsys.readouterr().out
    assert main(["show", str(good)]) == 0
    assert "dropped" not in capsys.readouterr().out
    assert main(["compare", str(good), str(bad)]) == 0
    assert "B dropped: accuracy 50 %" in capsys.readouterr().out
    assert main(["compare", str(good), str(bad), "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)["dropped"]
    assert told["a"] == ""
    assert told["b"].startswith("accuracy 50 %")


def test_show_of_a_folder_lists_its_variants(folder, capsys):
    assert main(["show", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fp32", "pruned", "pruned-int8", "slow", "lite", "bad", "odd"]
    assert "dropped/m.v1.bad.onnx  dropped: accuracy 50 %" in lines[5]
    assert "dropped" not in lines[1]
    assert load_run(folder).variants[4].path == "dropped/m.v1.bad.onnx"
