"""Static int8 side by side: ours against what the libraries do by default, same model, same calibration samples.

    python benchmarks/quantizers.py --model net.onnx --data data.npz [--rounds 3] [--mixed] [-o json]

``--model`` is an .onnx or .tflite file, or ``file.py:function`` that returns a torch module, which is exported to both.
All samples that calibrate come from the training part of the data, accuracy and agreement from the part that judges.
Latencies (one thread, batch 1, in children of muster_bench) alternate between the files, ``--rounds`` times; the row
has the median. The libraries get the float model and the samples, and no settings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rig.machine import tell_machine
from rig.table import say_rows

from muster_bench.dataset import columns, load_arrays
from muster_compression.dataset.splits import Array
from muster_compression.export_model import export_model
from muster_compression.graph.library_logging import without_library_logging
from muster_compression.graph.tflite_signature import with_signature
from muster_compression.import_model import import_model
from muster_compression.latency import host_latency
from muster_compression.orders import ImportedModel
from muster_compression.passes.calibration import feeds
from muster_compression.passes.port import PassContext
from muster_compression.run_recipe import run_recipe
from muster_compression.variant_of import variant_of
from muster_protos.errors import InvalidInputError, MusterError
from muster_protos.model import Accuracy, Format, VariantManifest

_OURS = {
    Format.ONNX: [("ours", ("onnx-prepare", "onnx-static-int8")), ("ours, mixed", ("onnx-prepare", "onnx-mixed-int8"))],
    Format.TFLITE: [("ours", ("tflite-static-int8",)), ("ours, mixed", ("tflite-mixed-int8",))],
}
_LIBRARIES = {Format.ONNX: "onnxruntime default", Format.TFLITE: "ai-edge-quantizer default"}
_MOST_SAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file that is compared."""

    tool: str
    path: Path
    manifest: VariantManifest


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one file; None = could not be measured."""

    tool: str
    format: str
    accuracy: float | None
    accuracy_low: float | None  # 95 % confidence
    accuracy_high: float | None
    agreement: float | None
    sqnr_db: float | None
    size_bytes: int
    latency_us: float | None  # median over the rounds of the median query
    latency_state: str  # worst of the rounds: whether muster_bench believes them


def main() -> int:
    """Rows on standard output, the machine on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", action="store_true", help="ours with the most sensitive layers in float, too")
    parser.add_argument("-o", "--output", choices=("json", "markdown"), default="markdown")
    arguments = parser.parse_args()
    tell_machine("onnxruntime", "ai-edge-quantizer", "ai-edge-litert")
    try:
        with tempfile.TemporaryDirectory() as folder:
            sources = _files(arguments.model, arguments.data, Path(folder))
            rows = [row for source in sources for row in _compare(source, arguments, Path(folder))]
    except MusterError as error:
        print(error, file=sys.stderr)
        return 1
    say_rows([_shown(row) for row in rows], arguments.output)
    return 0


def _files(model: str, data: str, folder: Path) -> list[str]:
    """The float files: the one named, or both formats of a torch function."""
    if Path(model).is_file():
        return [model]
    made = (export_model(model, format_, "net", data, folder / format_.value) for format_ in _OURS)
    return [str(item.path) for item in made]


def _compare(source: str, arguments: argparse.Namespace, folder: Path) -> list[Row]:
    home = folder / f"of-{Path(source).suffix[1:]}"
    model = import_model(source, "model", 1, arguments.data, home / "import")
    if model.calibration_path is None:
        raise InvalidInputError("expected training samples to calibrate on, found none; add x_train to the data")
    print(f"{source}: {model.manifest.format.value}, {model.manifest.precision}", file=sys.stderr)
    candidates = [Candidate("float", model.artifact_path, model.manifest)]
    candidates.append(_by_the_library(model, home))
    for tool, passes in _OURS[model.manifest.format][: 2 if arguments.mixed else 1]:
        candidates.append(_by_us(model, tool, passes, home))
    return _measured(candidates, model.evaluation_path, arguments.rounds)


def _by_us(model: ImportedModel, tool: str, passes: Sequence[str], home: Path) -> Candidate:
    name = passes[-1]
    recipe = home / f"{name}.yaml"
    settings = [f"{{pass: {item}, calibration_samples: {_MOST_SAMPLES}}}" for item in passes[-1:]]
    recipe.write_text(
        f"name: side\nvariants:\n  - name: {name}\n    passes: [{', '.join([*passes[:-1], *settings])}]\n"
    )
    made = run_recipe(model.parent, str(recipe), home / name, cache_dir=home / "cache")
    if not made.variants:
        raise InvalidInputError(made.failed[0].reason)
    print(f"{tool}: {made.variants[0].steps[-1].effect}", file=sys.stderr)
    return Candidate(tool, made.variants[0].artifact_path, made.variants[0].manifest)


def _by_the_library(model: ImportedModel, home: Path) -> Candidate:
    """As its own documentation starts: no settings but the samples."""
    path = home / f"library.{model.manifest.format.value}"
    assert model.calibration_path is not None
    samples = columns(load_arrays(model.calibration_path), "x_", model.signature.inputs)
    context = PassContext(home, model.signature, samples, 0, lambda _ratio, _note: None)
    rows = np.arange(len(next(iter(samples.values()))))
    fed = feeds(model.artifact_path, model.manifest.format, context, samples, rows)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), without_library_logging():
        warnings.simplefilter("ignore")
        if model.manifest.format is Format.ONNX:
            _onnxruntime(model.artifact_path, path, fed)
        else:
            _ai_edge_quantizer(model.artifact_path, path, list(fed), home)
    judged = variant_of(model.parent, str(path), "library", home / "library", is_forced=True)  # however bad it is
    return Candidate(_LIBRARIES[model.manifest.format], judged.artifact_path, judged.manifest)


def _onnxruntime(source: Path, path: Path, fed: Iterator[dict[str, Array]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(fed, None)

    quantize_static(str(source), str(path), Reader())


def _ai_edge_quantizer(source: Path, path: Path, fed: Sequence[Mapping[str, Array]], home: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    signed, key = with_signature(source, home / "signed.tflite")  # old files have none, and the library needs one
    details = Interpreter(model_path=str(signed)).get_signature_runner(key).get_input_details()
    arguments = {item["name"]: argument for argument, item in details.items()}
    samples = [{arguments.get(name, name): values for name, values in feed.items()} for feed in fed]
    work: Any = quantizer.Quantizer(str(signed), recipe.static_wi8_ai8())
    with contextlib.redirect_stderr(io.StringIO()):
        ranges = work.calibrate({key: samples}, num_threads=1)
        made = work.quantize(ranges, enable_progress_report=False).quantized_model
    path.write_bytes(bytes(made))


def _measured(candidates: Sequence[Candidate], evaluation_path: Path, rounds: int) -> list[Row]:
    """Latencies alternate, so that what else the machine does falls on all of them."""
    found: dict[str, list[float]] = {item.tool: [] for item in candidates}
    states: dict[str, set[str]] = {item.tool: set() for item in candidates}
    for index in range(rounds):
        for item in candidates:
            print(f"round {index + 1} of {rounds}: {item.tool}", file=sys.stderr)
            latency, reason = host_latency(item.path, item.manifest, evaluation_path)
            states[item.tool].add(reason if latency is None else latency.state)
            if latency is not None:
                found[item.tool].append(latency.p50_ns / 1000)
    return [_row(item, found[item.tool], states[item.tool]) for item in candidates]


def _row(item: Candidate, latencies: Sequence[float], states: set[str]) -> Row:
    accuracy = item.manifest.accuracy or Accuracy()
    return Row(
        tool=item.tool,
        format=item.manifest.format.value,
        accuracy=accuracy.value,
        accuracy_low=accuracy.ci_low,
        accuracy_high=accuracy.ci_high,
        agreement=accuracy.agreement,
        sqnr_db=item.manifest.sqnr_db,
        size_bytes=item.manifest.artifact.size_bytes,
        latency_us=round(statistics.median(latencies), 1) if latencies else None,
        latency_state=", ".join(sorted(states)) or "not measured",
    )


def _shown(row: Row) -> dict[str, object]:
    values = {name: getattr(row, name) for name in Row.__slots__}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
