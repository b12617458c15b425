"""A torch function as an ONNX or TFLite file: child side of ``export_model``, and what the other verbs start with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from muster_compression.checking import checked_format
from muster_compression.dataset.load import load_data
from muster_compression.dataset.splits import Split
from muster_compression.orders import ExportedFile, ExportOrder
from muster_compression.part_of import OnProgress, part_of
from muster_compression.sources.kind import SourceKind, kind_of, split_torch
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format

if TYPE_CHECKING:
    from muster_compression.sources.torch_module import TorchSource


def do_export(order: ExportOrder, on_progress: OnProgress) -> ExportedFile:
    """See ``export_model.export_model``."""
    if kind_of(order.source) is SourceKind.FILE:
        raise InvalidInputError(
            f"{Path(order.source).name}: expected file.py:function, found a file; nothing to export"
        )
    samples = load_data(order.data).judging() if order.data else None
    path, format, _ = artifact_of(order.source, order.out_dir, samples, order.format, on_progress)  # noqa: A001
    return ExportedFile(path.rename(order.out_dir / f"{order.name}.{format.value}"), format)


def artifact_of(
    source: str,
    folder: Path,
    samples: Split | None,
    wanted: str,
    on_progress: OnProgress,
    seed: int = 0,
    is_untrained: bool = False,
) -> tuple[Path, Format, tuple[str, ...]]:
    """The source as a checked file in ``folder``, its format, and the distributions that made it.

    Files are taken as they are; torch functions and archives are exported to ``wanted`` ("" = ONNX).

    Raises:
        InvalidInputError: the check or the export refuses it.
    """
    path = folder / "source"
    if kind_of(source) is SourceKind.FILE:
        shutil.copyfile(source, path)
        return path, checked_format(path, Path(source).name), ()
    on_progress(0.1, f"calling {Path(source).name}, which may train")
    module = torch_source(source, samples, seed, is_untrained)
    return export(module, path, wanted, part_of(on_progress, 0.3, 0.7))


def torch_source(source: str, samples: Split | None, seed: int = 0, is_untrained: bool = False) -> TorchSource:
    """The module behind ``file.py:function`` or an archive, with what an export needs.

    Raises:
        NotFoundError, InvalidInputError: as ``load_torch`` and ``load_archive``.
    """
    from muster_compression.sources.torch_module import load_archive, load_torch

    named = split_torch(source)
    if named is None:
        return load_archive(Path(source))
    return load_torch(*named, samples, seed, is_untrained)


def export(
    module: TorchSource, path: Path, wanted: str, on_progress: OnProgress
) -> tuple[Path, Format, tuple[str, ...]]:
    """``module`` as a checked file at ``path``, its format, and the distributions that made it.

    Raises:
        InvalidInputError: an operator cannot be exported; it is named.
    """
    tools: tuple[str, ...]
    if wanted == Format.TFLITE.value:
        from muster_compression.sources.torch_to_tflite import export_tflite

        on_progress(0.0, "converting to TFLite")
        exported, tools = export_tflite(module, path), ("torch", "litert-torch")
    else:
        from muster_compression.sources.torch_to_onnx import export_onnx

        on_progress(0.0, "exporting to ONNX")
        exported, tools = export_onnx(module, path), ("torch", "onnxscript", "onnx")
    return exported, checked_format(exported, module.name), tools
