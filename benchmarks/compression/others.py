"""What users would run instead, with its own defaults: a child process, one request as JSON on stdin.

Every way gets the model and the calibration samples that ours gets, and where it trains, the same loop for as long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from muster_bench.dataset import load_arrays


def main() -> int:
    """One request: ``{"way", "model", "out", ...}``."""
    request = json.loads(sys.stdin.read())
    match request["way"]:
        case "onnxruntime":
            _onnxruntime(Path(request["model"]), Path(request["calibration"]), Path(request["out"]))
        case "onnxruntime-prepared":
            prepared = Path(request["out"]).with_suffix(".prepared")
            _prepare(Path(request["model"]), prepared)
            _onnxruntime(prepared, Path(request["calibration"]), Path(request["out"]))
        case "ai-edge-quantizer":
            _ai_edge_quantizer(Path(request["model"]), Path(request["calibration"]), Path(request["out"]))
        case "torch-pruning":
            _torch_pruning(request)
        case way:
            known = "onnxruntime, onnxruntime-prepared, ai-edge-quantizer or torch-pruning"
            raise ValueError(f"expected {known}, found {way!r}")
    return 0


def _onnxruntime(model: Path, calibration: Path, out: Path) -> None:
    """``quantize_static`` with nothing but what it must be told."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    rows = _rows(calibration)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(rows, None)

    quantize_static(str(model), str(out), Reader())


def _prepare(model: Path, out: Path) -> None:
    """As its documentation asks before static quantization."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(model), str(out))


def _ai_edge_quantizer(model: Path, calibration: Path, out: Path) -> None:
    """Its recipe for 8-bit weights and activations, and its own calibration."""
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(model), recipe.static_wi8_ai8())
    names = _signature_inputs(model)
    samples = [dict(zip(names, row.values(), strict=True)) for row in _rows(calibration)]
    found = made.calibrate({"serving_default": samples})
    made.quantize(found).export_model(str(out), overwrite=True)


def _signature_inputs(model: Path) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    return list(Interpreter(str(model)).get_signature_list()["serving_default"]["inputs"])


def _torch_pruning(request: dict[str, Any]) -> None:
    """Half of the channels of every layer by group magnitude in one step, then fine-tuning."""
    import torch
    import torch_pruning as tp

    from muster_compression.dataset.fit import fit_samples
    from muster_compression.dataset.npz import load_npz
    from muster_compression.passes.port import PassContext
    from muster_compression.sources.kind import split_torch
    from muster_compression.sources.torch_module import TorchSource, load_torch
    from muster_compression.sources.torch_to_onnx import export_onnx
    from muster_compression.training.fit import fit
    from muster_compression.training.settings import FitSettings
    from muster_protos.model import Signature, TensorSpec

    named = split_torch(request["model"])
    assert named is not None
    data = load_npz(Path(request["data"]))
    assert data.train is not None
    source = load_torch(*named, data.train)
    source.module.requires_grad_(True)
    example = source.example_inputs[0]
    before, _ = tp.utils.count_ops_and_params(source.module, example)
    last = [part for part in source.module.modules() if isinstance(part, torch.nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        source.module,
        example,
        importance=tp.importance.GroupMagnitudeImportance(),
        pruning_ratio=float(request["ratio"]),
        ignored_layers=[last],
    )
    pruner.step()
    after, _ = tp.utils.count_ops_and_params(source.module, example)
    shape = tuple(example.shape)
    signature = Signature(
        (TensorSpec("x", "float32", shape),),
        (TensorSpec("output", "float32", (1, 10)),),
        "NCHW",
        (),
        "",
        "classification",
    )
    out = Path(request["out"])
    context = PassContext(
        out.parent,
        signature,
        {},
        int(request["seed"]),
        _silent,
        checkpoints=out.parent,
        threads=int(request["threads"]),
    )
    settings = FitSettings.model_validate(request["fit"])
    fit(source.module, fit_samples(data.train, signature, data.name), settings, context, name="torch-pruning")
    export_onnx(TorchSource(source.module, (example,), source.input_names, source.output_names, "torch-pruning"), out)
    out.with_suffix(".json").write_text(json.dumps({"macs_left": after / before}))


def _silent(ratio: float, note: str) -> None:
    del ratio, note


def _rows(calibration: Path) -> Iterator[dict[str, np.ndarray]]:
    """One sample at a time by tensor name."""
    arrays = {name.removeprefix("x_"): values for name, values in load_arrays(calibration).items() if name[:2] == "x_"}
    count = len(next(iter(arrays.values())))
    return ({name: np.array(values[index : index + 1]) for name, values in arrays.items()} for index in range(count))


if __name__ == "__main__":
    sys.exit(main())
