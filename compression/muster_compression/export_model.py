"""Export a torch function to a file, without making a model of it."""

from __future__ import annotations

import threading
from pathlib import Path

from muster_compression.import_model import absolute_data, absolute_source
from muster_compression.orders import ExportedFile, ExportOrder
from muster_compression.part_of import OnProgress
from muster_compression.process import Limits, run_order
from muster_protos.ids import check_id
from muster_protos.model import Format

__all__ = ["export_model"]


def export_model(
    source: str,
    format: Format,  # noqa: A002
    name: str,
    data: str,
    out_dir: Path,
    on_progress: OnProgress | None = None,
    *,
    stop: threading.Event | None = None,
    limits: Limits | None = None,
) -> ExportedFile:
    """Write ``<name>.onnx`` or ``<name>.tflite`` into ``out_dir``; the work happens in a child process.

    Raises:
        MissingExtraError: the exporter is not installed.
        NotFoundError, InvalidInputError, ChildError, InterruptedError: as ``import_model``.
    """
    check_id(name, "file name")
    order = ExportOrder(absolute_source(source), format.value, name, out_dir, absolute_data(data))
    return run_order(order, ExportedFile, on_progress, stop, limits)
