"""Bind a ready-made file to an existing model, and prove that it computes the same."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from muster_compression.import_model import absolute_source
from muster_compression.orders import Parent, VariantOrder, VariantResult
from muster_compression.part_of import OnProgress
from muster_compression.process import Limits, run_order
from muster_compression.sources.kind import kind_of
from muster_protos.ids import check_id

__all__ = ["variant_of"]


def variant_of(
    parent: Parent,
    source: str,
    name: str,
    out_dir: Path,
    on_progress: OnProgress | None = None,
    *,
    stop: threading.Event | None = None,
    is_forced: bool = False,
    min_agreement: float = 0.5,
    format: str = "",  # noqa: A002
    limits: Limits | None = None,
) -> VariantResult:
    """Make ``source`` the variant ``name`` of ``parent``'s model; names, layout and quantization are bridged.

    ``format`` is what a torch function is exported to: "onnx", or "tflite" with the extra compress-tflite.

    Raises:
        InvalidInputError: its tensors cannot be bound to the signature, or its outputs agree with the baseline's on
            fewer than ``min_agreement`` of the evaluation samples and it is not forced.
        MissingExtraError, NotFoundError, ChildError, InterruptedError: as ``import_model``.
    """
    check_id(name, "variant name")
    kind_of(source)
    order = VariantOrder(
        absolute_source(source), name, absolute_parent(parent), out_dir, is_forced, min_agreement, 0, format
    )
    return run_order(order, VariantResult, on_progress, stop, limits)


def absolute_parent(parent: Parent) -> Parent:
    """The same files, whatever the working directory."""
    return replace(
        parent,
        artifact_path=parent.artifact_path.resolve(),
        evaluation_path=parent.evaluation_path and parent.evaluation_path.resolve(),
        calibration_path=parent.calibration_path and parent.calibration_path.resolve(),
    )
