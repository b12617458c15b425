"""torch module -> TFLite file through litert-torch (no TensorFlow)."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from muster_compression.artifact import write_bytes
from muster_compression.blame import blaming_the_model
from muster_compression.graph.library_logging import without_library_logging
from muster_compression.sources.torch_module import TorchSource, innermost_reason
from muster_protos.errors import InvalidInputError, MissingExtraError

_IMAGE_RANK = 4
_TO_CHANNELS_LAST = (0, 2, 3, 1)


def export_tflite(source: TorchSource, path: Path) -> Path:
    """Export with fixed shapes; image inputs become NHWC, which is what TFLite's kernels want.

    Raises:
        MissingExtraError: litert-torch is not installed.
        InvalidInputError: an operator cannot be converted; the message names the reason.
    """
    raw = path.with_suffix(".raw")
    with without_library_logging():
        _convert(_library(), source, raw)
    payload = raw.read_bytes()
    raw.unlink()
    return write_bytes(path, payload)


def _convert(litert_torch: Any, source: TorchSource, path: Path) -> None:
    images = [index for index, tensor in enumerate(source.example_inputs) if tensor.dim() == _IMAGE_RANK]
    module: Any = source.module
    if images:
        module = litert_torch.to_channel_last_io(source.module, args=images).eval()
    examples = tuple(
        tensor.permute(_TO_CHANNELS_LAST).contiguous() if index in images else tensor
        for index, tensor in enumerate(source.example_inputs)
    )
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        with blaming_the_model(InvalidInputError, f"{source.name} cannot be converted to TFLite", innermost_reason):
            litert_torch.convert(module, examples).export(str(path))


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litert_torch
    except ImportError as error:
        raise MissingExtraError(
            "TFLite from torch needs litert-torch: pip install 'muster-edge[compress-tflite]'"
        ) from error
    return litert_torch
