"""The files that a demonstration starts from: two widths as ONNX and a still narrower one as TFLite."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from muster_compression.export_model import export_model
from muster_compression.part_of import OnProgress
from muster_protos.model import Format

DATA = "builtin:digits"
_SOURCE = Path(__file__).with_name("model.py")
_WIDE_SHARE, _NARROW_SHARE = 0.7, 0.15


@dataclass(frozen=True, slots=True)
class DigitsFiles:
    """Models of the same task; ``wide_onnx`` is the baseline, the others are ready-made variants of it."""

    wide_onnx: Path
    narrow_onnx: Path
    tiny_tflite: Path | None  # None when it was not asked for


def build(
    out_dir: Path,
    on_progress: OnProgress | None = None,
    *,
    with_tflite: bool = True,
    stop: threading.Event | None = None,
) -> DigitsFiles:
    """Train (once; the cache keeps the weights), export, return the files. Under a minute on two cores.

    Raises:
        MissingExtraError: torch, scikit-learn or, with TFLite, litert-torch is not installed.
        InterruptedError: ``stop`` was set.
    """
    report = on_progress or _ignore

    def export(function: str, format: Format, name: str, start: float, share: float) -> Path:  # noqa: A002
        def inner(ratio: float, note: str) -> None:
            report(start + share * ratio, note)

        return export_model(f"{_SOURCE}:{function}", format, name, DATA, out_dir, inner, stop=stop).path

    wide = export("make", Format.ONNX, "digits-wide", 0.0, _WIDE_SHARE)
    narrow = export("make_narrow", Format.ONNX, "digits-narrow", _WIDE_SHARE, _NARROW_SHARE)
    start = _WIDE_SHARE + _NARROW_SHARE
    tflite = export("make_tiny", Format.TFLITE, "digits-tiny", start, 1 - start) if with_tflite else None
    return DigitsFiles(wide, narrow, tflite)


def _ignore(ratio: float, note: str) -> None:
    del ratio, note
