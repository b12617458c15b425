"""torch module -> ONNX file whose bytes depend on nothing but the module."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from muster_compression.artifact import write_bytes
from muster_compression.blame import blaming_the_model
from muster_compression.graph.onnx_clean import strip
from muster_compression.sources.torch_module import TorchSource, innermost_reason
from muster_protos.errors import InvalidInputError, PermanentError

OPSET = 18
"""Old enough for onnxruntime 1.14 and later (the oldest that devices here have is 1.17)."""

_LARGEST_BYTES = 2**31 - 1  # protobuf's own limit for one message


def export_onnx(source: TorchSource, path: Path, opset: int = OPSET) -> Path:
    """Export with fixed shapes (batch as in the example), weights inside, metadata and paths stripped.

    Raises:
        InvalidInputError: an operator cannot be exported; the message names it.
        PermanentError: the model is larger than an ONNX file can be.
    """
    said = f"{source.name} cannot be exported to ONNX"
    with _quiet(), blaming_the_model(InvalidInputError, said, innermost_reason):
        program = torch.onnx.export(
            source.module,
            source.example_inputs,
            dynamo=True,
            opset_version=opset,
            input_names=list(source.input_names),
            output_names=list(source.output_names),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip(model)
    if model.ByteSize() > _LARGEST_BYTES:
        raise PermanentError(f"{source.name}: {model.ByteSize()} bytes are more than an ONNX file can hold (2 GiB)")
    return write_bytes(path, model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own chatter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
