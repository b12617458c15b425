"""Import a model: from a file or a torch function to a signature, a baseline variant and the data that judge it."""

from __future__ import annotations

import threading
from pathlib import Path

from muster_compression.orders import ImportedModel, ImportOrder
from muster_compression.process import Limits, OnProgress, run_order
from muster_compression.sources.kind import kind_of, split_torch
from muster_protos.ids import check_id

__all__ = ["ImportedModel", "import_model"]


def import_model(
    source: str,
    name: str,
    version: int,
    data: str,
    out_dir: Path,
    on_progress: OnProgress | None = None,
    *,
    stop: threading.Event | None = None,
    metric: str = "",
    labels: tuple[str, ...] = (),
    seed: int = 0,
    limits: Limits | None = None,
    own_metric: str = "",
) -> ImportedModel:
    """Make version ``version`` of the model ``name``; the work happens in a child process.

    Args:
        source: an .onnx or .tflite file (content decides), or ``file.py:function`` that returns a torch module.
        data: path of an .npz, ``builtin:digits``, ``file.py:function``, or "" = inputs are generated, agreement only.
        out_dir: gets the artifact, golden, evaluation and calibration files; nothing on failure.
        metric: "accuracy", "auc", "mae", "mse", "rmse", "r2", or "" = decided from labels and outputs.
        own_metric: ``file.py:function`` of (predictions, labels) instead; it is code, and runs.
        labels: class names, for people.

    Raises:
        NotFoundError: no such file, function or data set.
        InvalidInputError: the model or the data are not what they should be.
        MissingExtraError: the runtime or exporter that it needs is not installed.
        ChildError: the child crashed or ran out of time.
        InterruptedError: ``stop`` was set.
    """
    check_id(name, "model name")
    kind_of(source)
    own = absolute_data(own_metric)
    order = ImportOrder(absolute_source(source), name, version, out_dir, absolute_data(data), metric, labels, seed, own)
    return run_order(order, ImportedModel, on_progress, stop, limits)


def absolute_source(source: str) -> str:
    """The same source, whatever the working directory."""
    named = split_torch(source)
    return f"{named[0].resolve()}:{named[1]}" if named else str(Path(source).resolve())


def absolute_data(data: str) -> str:
    """The same data, whatever the working directory."""
    return data if not data or data.startswith("builtin:") else absolute_source(data)
