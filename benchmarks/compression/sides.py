"""Side by side in one run: what users would run instead, against ours, on the same model and calibration samples."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import yaml

from benchmarks.compression.against import OURS
from benchmarks.compression.ask import ROOT
from benchmarks.compression.measure import Subject
from benchmarks.compression.rows import SideRow
from benchmarks.compression.runs import Bench
from muster_compression.applying import threads_of
from muster_compression.artifact import ref_of, write_bytes
from muster_compression.importing import CALIBRATION_COUNT
from muster_compression.process import Limits, OnProgress, part_of
from muster_compression.run_recipe import run_recipe
from muster_protos.errors import MusterError, PermanentError
from muster_protos.model import Format

Chain: TypeAlias = dict[str, object]
"""A pass with its settings, or a request, as it is written down."""

_WALL_S = 3600.0
_RATIO = 0.5  # of the channels, torch-pruning's own example
_EPOCHS = 6
_STEPS, _STEP_EPOCHS = 3, 1  # ours trains between its steps; the other gets these epochs at the end
_CALIBRATED: Chain = {"calibration_samples": CALIBRATION_COUNT}  # all of them, as the others get
_STATIC: dict[Format, tuple[str, str, dict[str, list[Chain]]]] = {
    Format.ONNX: (
        "onnxruntime",
        "static int8, ONNX Runtime",
        {
            OURS: [{"pass": "onnx-prepare"}, {"pass": "onnx-static-int8", **_CALIBRATED}],
            f"{OURS}, mixed": [{"pass": "onnx-prepare"}, {"pass": "onnx-mixed-int8", **_CALIBRATED}],
        },
    ),
    Format.TFLITE: (
        "ai-edge-quantizer",
        "static int8, LiteRT",
        {
            OURS: [{"pass": "tflite-static-int8", **_CALIBRATED}],
            f"{OURS}, mixed": [{"pass": "tflite-mixed-int8", **_CALIBRATED}],
        },
    ),
}


def quantizers(bench: Bench, on_progress: OnProgress) -> list[SideRow]:
    """onnxruntime's and ai-edge-quantizer's defaults against our passes with theirs."""
    rows = []
    for index, (format_, (other, name, chains)) in enumerate(_STATIC.items()):
        report = part_of(on_progress, 0.5 * index, 0.5, other)
        imported = bench.both[format_].imported
        request: Chain = {"model": str(imported.artifact_path), "calibration": str(imported.calibration_path)}
        rows.append(_side(bench, format_, name, f"{other}'s defaults", partial(_other, bench, other, request)))
        for way, chain in chains.items():
            rows.append(_side(bench, format_, name, way, partial(_ours, bench, format_, chain, report)))
    return rows


def pruners(bench: Bench, source: str, data: Path, on_progress: OnProgress) -> list[SideRow]:
    """torch-pruning's defaults against ``prune-structured`` with as many multiplications left, trained as long."""
    total = _epochs(bench) + (_STEPS - 1) * _STEP_EPOCHS
    name = f"half of the channels, {total} epochs"
    request: Chain = {
        "model": source,
        "data": str(data),
        "ratio": _RATIO,
        "seed": bench.seed,
        "threads": threads_of(0),
        "fit": {"epochs": total},
    }
    theirs = _side(
        bench, Format.ONNX, name, "torch-pruning's defaults", partial(_other, bench, "torch-pruning", request)
    )
    if theirs.accuracy is None:
        return [theirs]
    left = float(json.loads((bench.folder / "sides" / "torch-pruning.json").read_text())["macs_left"])
    prune: Chain = {
        "pass": "prune-structured",
        "macs": round(left, 4),
        "steps": _STEPS,
        "step_epochs": _STEP_EPOCHS,
        "fit": {"epochs": _epochs(bench)},
        "control": False,
    }
    chain: list[Chain] = [prune, {"pass": "export-onnx"}]
    ours = _side(bench, Format.ONNX, name, OURS, partial(_ours, bench, Format.ONNX, chain, on_progress))
    return [theirs, ours]


def _epochs(bench: Bench) -> int:
    return max(1, round(bench.share * _EPOCHS))


def _side(bench: Bench, format_: Format, comparison: str, way: str, make: Callable[[], Path]) -> SideRow:
    """One way, judged and timed as every variant is; a way that fails is a row with its reason."""
    baseline = bench.both[format_]
    try:
        path = make()
        subject = Subject(path, format_, baseline.imported.signature)
        accuracy = bench.memory.accuracy(subject, baseline.samples)
        pair = bench.memory.pair(baseline.subject, subject, baseline.samples)
    except MusterError as error:
        return SideRow(bench.task, comparison, way, None, None, None, None, None, None, None, str(error))
    return SideRow(
        task=bench.task,
        comparison=comparison,
        way=way,
        accuracy=accuracy.value,
        accuracy_low=accuracy.ci_low,
        accuracy_high=accuracy.ci_high,
        agreement=accuracy.agreement,
        size_bytes=ref_of(path).size_bytes,
        latency_ms=pair.second_ms,
        latency_ratio=pair.ratio,
    )


def _ours(bench: Bench, format_: Format, chain: Sequence[Chain], on_progress: OnProgress) -> Path:
    """Through a recipe of one variant."""
    name = f"side-{format_.value}-{'-'.join(str(step['pass']) for step in chain)}"
    recipe = bench.folder / "recipes" / f"{name}.yaml"
    write_bytes(recipe, yaml.safe_dump({"name": name, "variants": [{"name": "side", "passes": list(chain)}]}).encode())
    parent = bench.both[format_].imported.parent
    result = run_recipe(
        parent,
        str(recipe),
        bench.folder / "variants" / name,
        on_progress,
        seed=bench.seed,
        cache_dir=bench.cache,
        limits=Limits(wall_s=_WALL_S),
    )
    if not result.variants:
        raise PermanentError("; ".join(item.reason for item in result.failed))
    return result.variants[0].artifact_path


def _other(bench: Bench, way: str, request: Chain) -> Path:
    """Made by ``others`` in a child of its own; kept for the same request.

    Raises:
        PermanentError: the tool failed; with its last words.
    """
    suffix = Format.TFLITE.value if way == "ai-edge-quantizer" else Format.ONNX.value
    out = bench.folder / "sides" / f"{way}.{suffix}"
    asked = {"way": way, **request, "out": str(out)}
    key = json.dumps({**asked, "sha256": _input_sha256(request)}, sort_keys=True)
    marker = out.with_suffix(".asked")
    if out.is_file() and marker.is_file() and marker.read_text() == key:
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.compression.others"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=_WALL_S,
        check=False,
    )
    if found.returncode != 0:
        raise PermanentError(f"{way} failed: {' '.join(found.stderr.split())[-300:]}")
    write_bytes(marker, key.encode())
    return out


def _input_sha256(request: Chain) -> list[str]:
    """Of the model's file; a torch source's weights lie beside it."""
    model = Path(str(request["model"]).removesuffix(":make"))
    files = [model.with_name("weights.pt")] if model.suffix == ".py" else [model]
    return [ref_of(path).sha256 for path in files]
