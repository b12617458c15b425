"""Import a model: from a file or a torch function to a signature, a baseline variant and the data that judge it."""

from __future__ import annotations

import threading
from pathlib import Path

from muster_compression.orders import ImportedModel, ImportOrder
from muster_compression.part_of import OnProgress
from muster_compression.process import Limits, run_order
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
    train_epochs: int = 0,
    cache_dir: Path | None = None,
    threads: int = 0,
) -> ImportedModel:
    """Make version ``version`` of the model ``name``; the work happens in a child process.

    Args:
        source: an .onnx, .tflite or .pt2 (torch.export) file, its content decides, or ``file.py:function`` that
            returns a torch module in eval mode.
        data: path of an .npz, ``builtin:digits``, ``file.py:function``, or "" = inputs are generated, agreement only.
        out_dir: gets the artifact, golden, evaluation and calibration files; nothing on failure.
        metric: "accuracy", "auc", "mae", "mse", "rmse", "r2", or "" = decided from labels and outputs.
        own_metric: ``file.py:function`` of (predictions, labels) instead; it is code, and runs.
        labels: class names, for people.
        train_epochs: train what the function returns, on the training samples; 0 = it is trained already. Kept in
            the cache; a killed training goes on from its last epoch.

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
    order = ImportOrder(
        source=absolute_source(source),
        name=name,
        version=version,
        out_dir=out_dir,
        data=absolute_data(data),
        metric=metric,
        labels=labels,
        seed=seed,
        own_metric=own,
        train_epochs=train_epochs,
        cache_dir=cache_dir and cache_dir.resolve(),
        threads=threads,
    )
    return run_order(order, ImportedModel, on_progress, stop, limits)


def absolute_source(source: str) -> str:
    """The same source, whatever the working directory."""
    named = split_torch(source)
    return f"{named[0].resolve()}:{named[1]}" if named else str(Path(source).resolve())


def absolute_data(data: str) -> str:
    """The same data, whatever the working directory."""
    return data if not data or data.startswith("builtin:") else absolute_source(data)
