"""Side by side in one run: what users would run instead, against ours, on the same model and calibration samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import yaml

from benchmarks.compression.against import OURS
from benchmarks.compression.child import run_child
from benchmarks.compression.making import THREADS, WALL_S, Bench, run_one
from benchmarks.compression.measure import Subject
from benchmarks.compression.rows import Beside, SideRow
from muster_compression.artifact import ref_of, write_bytes
from muster_compression.importing import CALIBRATION_COUNT
from muster_compression.part_of import OnProgress, part_of
from muster_protos.errors import MusterError, PermanentError
from muster_protos.model import Format

Chain: TypeAlias = dict[str, object]
"""A pass with its settings, or a request, as it is written down."""

_RATIO = 0.5  # of the channels, torch-pruning's own example
_EPOCHS = 6
_STEPS, _STEP_EPOCHS = 3, 1  # ours trains between its steps; the other gets these epochs at the end
_MACS_TOLERANCE = 0.05  # ours may keep hardly more multiplications than theirs
_ROUND_TO = 8  # channels, as halves of usual widths are: float kernels of ONNX Runtime are slow for odd ones
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


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing it; without a path it failed, and the note says why."""

    comparison: str
    way: str
    format: Format
    path: Path | None
    note: str = ""


def make_sides(bench: Bench, source: str, data: Path, on_progress: OnProgress) -> list[Way]:
    """onnxruntime's, ai-edge-quantizer's and torch-pruning's defaults, and ours beside each."""
    ways = []
    for index, (format_, (other, name, chains)) in enumerate(_STATIC.items()):
        report = part_of(on_progress, 0.2 * index, 0.2, other)
        imported = bench.both[format_].imported
        request: Chain = {"model": str(imported.artifact_path), "calibration": str(imported.calibration_path)}
        ways.append(_way(name, f"{other}'s defaults", format_, partial(_other, bench, other, request)))
        if format_ is Format.ONNX:  # ours begins with onnx-prepare, which is the same library's preparation
            prepared = f"{other}'s defaults on a prepared model"
            ways.append(_way(name, prepared, format_, partial(_other, bench, f"{other}-prepared", request)))
        for way, chain in chains.items():
            ways.append(_way(name, way, format_, partial(_ours, bench, format_, chain, report)))
    return ways + _pruners(bench, source, data, part_of(on_progress, 0.4, 0.6, "torch-pruning"))


def measure_sides(bench: Bench, ways: Sequence[Way]) -> list[SideRow]:
    """Judged and timed as every variant is; every other way also in turns with ours."""
    rows = []
    for item in ways:
        if item.path is None:
            rows.append(SideRow(bench.task, item.comparison, item.way, note=item.note))
            continue
        baseline, subject = bench.both[item.format], _subject(bench, item)
        accuracy = bench.memory.judged(subject, baseline.samples).accuracy
        pair = bench.memory.pair(baseline.subject, subject, baseline.samples)
        rows.append(
            SideRow(
                task=bench.task,
                comparison=item.comparison,
                way=item.way,
                accuracy=accuracy.value,
                accuracy_low=accuracy.ci_low,
                accuracy_high=accuracy.ci_high,
                agreement=accuracy.agreement,
                size_bytes=ref_of(item.path).size_bytes,
                latency_ms=pair.second_ms,
                latency_ratio=pair.ratio,
                is_noisy=pair.is_noisy,
                ours=_beside(bench, item, ways),
            )
        )
    return rows


def _beside(bench: Bench, other: Way, ways: Sequence[Way]) -> Beside | None:
    """Another way in turns with ours; None for ours itself, or when there is none."""
    ours = next((item for item in ways if (item.comparison, item.way) == (other.comparison, OURS)), None)
    if other.way.startswith(OURS) or ours is None or ours.path is None:
        return None
    pair = bench.memory.pair(_subject(bench, other), _subject(bench, ours), bench.both[other.format].samples)
    return Beside(pair.ratio, pair.ratio_low, pair.ratio_high, pair.is_noisy)


def _subject(bench: Bench, item: Way) -> Subject:
    assert item.path is not None
    return Subject(item.path, item.format, bench.both[item.format].imported.signature)


def _pruners(bench: Bench, source: str, data: Path, on_progress: OnProgress) -> list[Way]:
    """torch-pruning's defaults against ``prune-structured`` with as many multiplications left, trained as long."""
    epochs = max(1, round(bench.share * _EPOCHS))
    total = epochs + (_STEPS - 1) * _STEP_EPOCHS
    name = f"half of the channels, {total} epochs"
    request: Chain = {
        "model": source,
        "data": str(data),
        "ratio": _RATIO,
        "seed": bench.seed,
        "threads": THREADS,
        "fit": {"epochs": total},
    }
    theirs = _way(name, "torch-pruning's defaults", Format.ONNX, partial(_other, bench, "torch-pruning", request))
    if theirs.path is None:
        return [theirs]
    left = float(json.loads(theirs.path.with_suffix(".json").read_text())["macs_left"])
    prune: Chain = {
        "pass": "prune-structured",
        "macs": round(left, 4),
        "tolerance": _MACS_TOLERANCE,
        "round_to": _ROUND_TO,
        "steps": _STEPS,
        "step_epochs": _STEP_EPOCHS,
        "fit": {"epochs": epochs},
        "control": False,
    }
    chain: list[Chain] = [prune, {"pass": "export-onnx"}]
    report = part_of(on_progress, 0.5, 0.5, OURS)
    return [theirs, _way(name, OURS, Format.ONNX, partial(_ours, bench, Format.ONNX, chain, report))]


def _way(comparison: str, way: str, format_: Format, make: Callable[[], Path]) -> Way:
    try:
        return Way(comparison, way, format_, make())
    except MusterError as error:
        return Way(comparison, way, format_, None, str(error))


def _ours(bench: Bench, format_: Format, chain: Sequence[Chain], on_progress: OnProgress) -> Path:
    """Through a recipe of one variant."""
    name = f"side-{format_.value}-{'-'.join(str(step['pass']) for step in chain)}"
    recipe = bench.folder / "recipes" / f"{name}.yaml"
    write_bytes(recipe, yaml.safe_dump({"name": name, "variants": [{"name": "side", "passes": list(chain)}]}).encode())
    result = run_one(bench, str(recipe), format_, bench.folder / "variants" / name, on_progress)
    if not result.variants:
        raise PermanentError("; ".join(item.reason for item in result.failed))
    return result.variants[0].artifact_path


def _other(bench: Bench, way: str, request: Chain) -> Path:
    """Made by ``others`` in a child of its own; kept for the same request.

    Raises:
        PermanentError: the tool failed or hung; with its last words.
    """
    suffix = Format.TFLITE.value if way == "ai-edge-quantizer" else Format.ONNX.value
    out = bench.folder / "sides" / f"{way}.{suffix}"
    asked = {"way": way, **request, "out": str(out)}
    key = json.dumps({**asked, "sha256": _input_sha256(request), "versions": _versions()}, sort_keys=True)
    marker = out.with_suffix(".asked")
    if out.is_file() and marker.is_file() and marker.read_text() == key:
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    run_child("others", asked, WALL_S, way)
    write_bytes(marker, key.encode())
    return out


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("onnxruntime", "ai-edge-quantizer", "torch-pruning", "torch")}


def _input_sha256(request: Chain) -> list[str]:
    """Of the model's file, its samples, and the code that runs the other tool; a torch source's weights lie beside."""
    model = Path(str(request["model"]).removesuffix(":make"))
    files = [model.with_name("weights.pt")] if model.suffix == ".py" else [model]
    files += [Path(str(request[name])) for name in ("calibration", "data") if name in request]
    return [ref_of(path).sha256 for path in (*files, Path(__file__).with_name("others.py"))]
